"""The header of a safetensors file, checked against the bytes that are there.

The file is eight bytes (the length of the header), the header (JSON: for each tensor its type,
shape and the range of its bytes, and a map of free text), and the bytes of the tensors. Nothing
is allocated by what a header claims: each claim is first compared with the size of the file.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chainrule.errors import DamagedFileError

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format
_MOST_AXES = 64  # NumPy's limit

RESTORE = "restore the file from a copy, or save it again"


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes are: its little-endian type, its shape, and the first byte."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # counted from the beginning of the file
    bytes: int


@dataclass(frozen=True)
class Header:
    """What a file declares, every claim of it checked against the file's size."""

    places: dict[str, Place]
    metadata: dict[str, str]


def damaged(what: str, path: Path) -> DamagedFileError:
    """The error for a file whose contents are not what they say they are."""
    return DamagedFileError(what, where=str(path), do=RESTORE)


def read_header(file: BinaryIO, path: Path) -> Header:
    """Read and check the header of an open safetensors file.

    Raises DamagedFileError where a claim does not fit the bytes, naming the tensor.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES:
        raise damaged(f"{path.name} is cut off: it has {size} bytes, not even a header", path)
    if length > min(size - _LENGTH_BYTES, _LONGEST_HEADER):
        raise damaged(
            f"{path.name} is cut off or not a safetensors file: its header claims {length:,} "
            f"bytes, the file has {size:,}",
            path,
        )
    entries = _parse(file.read(length), path)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise damaged(f"the description in the header of {path.name} is damaged", path)
    begin = _LENGTH_BYTES + length
    places = {name: _place(name, entry, begin, path) for name, entry in entries.items()}
    _check_layout(places, begin, size, path)
    return Header(places, metadata)


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(f"the header of {path.name} is damaged: it is not JSON", path) from error
    if not isinstance(entries, dict):
        raise damaged(f"the header of {path.name} is damaged: it lists no tensors", path)
    return entries


def _place(name: str, entry: Any, begin: int, path: Path) -> Place:
    """One tensor's entry; its range of bytes must be as long as its type and shape say."""
    entry = entry if isinstance(entry, dict) else {}
    code, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(code, str) or not _are_counts(shape) or not _are_counts(offsets):
        raise damaged(f"the header of {path.name} is damaged at tensor {name!r}", path)
    dtype = DTYPES.get(code)
    if dtype is None:
        raise damaged(f"tensor {name!r} in {path.name} has the unknown type {code!r}", path)
    if len(shape) > _MOST_AXES or len(offsets) != 2:
        raise damaged(f"the header of {path.name} is damaged at tensor {name!r}", path)
    first, end = offsets
    needed = math.prod(shape) * dtype.itemsize
    if end - first != needed:
        raise damaged(
            f"tensor {name!r} in {path.name} is declared as {dtype.name} of shape "
            f"{tuple(shape)}, which is {needed:,} bytes, and given {end - first:,}",
            path,
        )
    return Place(dtype, tuple(shape), begin + first, needed)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(places: dict[str, Place], begin: int, size: int, path: Path) -> None:
    """The tensors fill the rest of the file: one after the other, no gap, nothing left over."""
    end = begin
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].bytes)):
        if place.start != end:
            raise damaged(f"the header of {path.name} is damaged at tensor {name!r}", path)
        end = place.start + place.bytes
        if end > size:
            raise damaged(
                f"{path.name} is cut off: tensor {name!r} ends at byte {end:,}, the file has "
                f"{size:,}",
                path,
            )
    if end != size:
        raise damaged(f"{path.name} has {size - end:,} bytes after the last tensor", path)
