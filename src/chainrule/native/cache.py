"""Object code on disk, so that what was compiled once need not be again.

An entry's name is the hash of everything that its content follows from: the LLVM assembly, the
processor's name and features, the versions, the level of optimisation. Entries are private to the
user, written whole or not at all, checked before use, and the least recently used go when there is
too much. Processes share the folder without locks: two that compile the same write the same bytes.
A cache that cannot be read or written costs time, never a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chainrule import config
from chainrule.errors import FileError
from chainrule.store import make_directory, sweep, write_atomic

_MAGIC = b"chainrule object 1\n"
_DIGEST = 32
_SUFFIX = ".object"


@dataclass(frozen=True)
class Contents:
    """What the cache holds."""

    path: Path
    entries: int
    size: int  # bytes


def folder() -> Path | None:
    """Where entries lie: `CHAINRULE_CACHE`, else the user's cache directory; None when off, or
    where the user has no home."""
    if config.CACHE == "off":
        return None
    if config.CACHE:
        return Path(config.CACHE)
    try:
        return config.user_cache()
    except RuntimeError:
        return None


def get(key: str, build: Callable[[], bytes]) -> bytes:
    """The object code for a key: from the cache where it is whole, else built and kept."""
    place = folder()
    if place is None:
        return build()
    path = place / f"{hashlib.blake2b(key.encode(), digest_size=20).hexdigest()}{_SUFFIX}"
    found = _read(path) if _is_trusted(place) else None
    if found is not None:
        return found
    code = build()
    with contextlib.suppress(FileError, OSError):
        _make_private(place)
        # An entry that a power cut damages is found by its checksum, and built again.
        write_atomic(path, _MAGIC + _checksum(code) + code, durable=False)
        _bound(place, config.CACHE_BYTES)
        sweep(place)
    return code


def _read(path: Path) -> bytes | None:
    """An entry's code; a damaged one is removed."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST
    code = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(code):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used now: the last to go
    return code


def _checksum(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=_DIGEST).digest()


def _is_trusted(place: Path) -> bool:
    """Whether nobody else may have written what lies in the folder: it is code, and will run."""
    try:
        found = place.stat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _make_private(place: Path) -> None:
    """The folder, for this user alone; what lies in one where others could write is removed."""
    make_directory(place)
    if place.stat().st_uid != os.getuid():
        raise FileError(f"{place} belongs to another user")
    trusted = _is_trusted(place)
    place.chmod(0o700)
    if not trusted:
        for _, _, path in _entries(place):
            path.unlink()


def _entries(place: Path) -> Iterator[tuple[float, int, Path]]:
    """(last use, size, path) of every entry."""
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            if path.suffix == _SUFFIX:
                with contextlib.suppress(OSError):
                    found = path.stat()
                    yield found.st_mtime, found.st_size, path


def _bound(place: Path, most: int) -> None:
    """Removes the least recently used entries until the rest fits."""
    entries = sorted(_entries(place))
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= most:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def contents() -> Contents | None:
    """What is in the cache; None when it is off."""
    place = folder()
    if place is None:
        return None
    entries = list(_entries(place))
    return Contents(place, len(entries), sum(size for _, size, _ in entries))


def clear() -> int:
    """Removes every entry, and what killed writes left; returns how many entries there were."""
    place = folder()
    if place is None:
        return 0
    entries = list(_entries(place))
    for _, _, path in entries:
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(FileError, OSError):
        sweep(place)
    return len(entries)
