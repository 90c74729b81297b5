"""IDX files, the format of MNIST: a few header bytes, then one array.

Two zero bytes, the type of the numbers, the number of axes, the sizes (32 bits each), the numbers;
all with the most significant byte first. Files may be compressed with gzip; what counts is what
they hold, not what they are called.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DamagedFileError, FileError

_GZIP_MAGIC = b"\x1f\x8b"
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in an IDX file, plain or gzip, in the machine's byte order.

    Raises FileError where it cannot be read, DamagedFileError where it is cut short, too long or
    no IDX file.
    """
    return parse_idx(plain_bytes(Path(path)), str(path))


def plain_bytes(path: Path) -> bytes:
    """The bytes of a file, no longer compressed where it is gzip; errors as in `read_idx`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(str(path), f"it is not a whole gzip file ({error})") from None


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """The array in the bytes of an IDX file; `name` names it in errors, which are `read_idx`'s."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        begins = content[:4].hex(" ") or "nothing"
        raise _damaged(name, f"it is no IDX file (it begins with {begins})")
    dtype, axes = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise _damaged(name, "it ends within its header")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, 4))
    wanted, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if found != wanted:
        sizes = " x ".join(map(str, shape))
        raise _damaged(name, f"its header says {sizes}, {wanted} bytes, and {found} follow")
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def _damaged(name: str, why: str) -> DamagedFileError:
    return DamagedFileError(
        f"{name} is damaged or foreign: {why}", do="get the file again from where it came"
    )
