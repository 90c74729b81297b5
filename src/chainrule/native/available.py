"""Whether native code can run here."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
from functools import lru_cache

# What the emitted code was made for: vectors of at least 16 bytes, little-endian, 64-bit addresses.
PROCESSORS = ("x86_64", "amd64", "aarch64", "arm64")


@lru_cache(maxsize=1)
def missing() -> str | None:
    """Why native code cannot run in this process, in a few words; None where it can."""
    processor = platform.machine().lower()
    if processor not in PROCESSORS or sys.maxsize < 2**32:
        return f"there is no native code for this processor ({processor or 'unknown'})"
    if os.name != "posix":
        return f"there is no native code for this system ({platform.system()})"
    if not _may_run_new_code():
        return "this system lets no process run code that it made itself"
    try:
        from chainrule.native import target

        target.machine()
    # The package is missing or too old, its library does not load, it does not know the processor.
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        return f"LLVM does not load: {error}"
    return None


def _may_run_new_code() -> bool:
    """Whether memory that was written may be executed; hardened systems say no, and LLVM would end
    the process over it."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        byte = ctypes.c_char.from_buffer(page)
        protect = ctypes.CDLL(None).mprotect
        read, write = mmap.PROT_READ, mmap.PROT_WRITE
        place, size = ctypes.c_void_p(ctypes.addressof(byte)), ctypes.c_size_t(mmap.PAGESIZE)
        allowed: bool = protect(place, size, read | mmap.PROT_EXEC) == 0
        protect(place, size, read | write)
        del byte  # else the page could not be closed
    return allowed
