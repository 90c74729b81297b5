"""Named arrays and their description in one safetensors file, with a checksum for each.

The description, the version of this layout and the checksums are one JSON text under one key of
the file's metadata: safetensors keeps several keys in no fixed order, and equal contents should
make equal files. Writing goes through the `safetensors` library, so that every tool that reads the
format reads these files. Reading is done here, so that an error can name the tensor, and because
an unreadable disk is an error to `read` but kills a process that has mapped the file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.store.atomic import file_error, write_atomic
from chainrule.store.header import DTYPES, Header, Place, damaged, read_header

Array = np.ndarray[Any, Any]

_KEY = "chainrule"
_VERSION = 1
_DIGEST_BYTES = 16
_STORED = frozenset(dtype.newbyteorder("=") for dtype in DTYPES.values())


@dataclass(frozen=True)
class TensorType:
    """What a file says of one tensor, without its data."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What is in a file, without the data: the description and each tensor's type."""

    info: dict[str, Any]
    tensors: dict[str, TensorType]


@dataclass(frozen=True)
class _Envelope:
    """The JSON text under our key: version, description, and checksums in the order saved."""

    info: dict[str, Any]
    checksums: dict[str, str]


def save_tensors(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], info: Mapping[str, Any]
) -> None:
    """Save `arrays` and `info` to one file, whole or not at all.

    `arrays` are bool, integer or float (16 to 64 bits) arrays of any shape, memory layout and byte
    order. `info` is JSON (strings as keys; NaN and infinity are kept, tuples come back as lists).

    Raises UsageError for what a file cannot hold, FileError where it cannot be written.
    """
    stored = {name: _stored(name, array) for name, array in arrays.items()}
    text = _json(info)
    envelope = {
        "version": _VERSION,
        "info": text,
        "info_checksum": _info_checksum(_VERSION, text),
        "checksums": {name: _tensor_checksum(name, array) for name, array in stored.items()},
    }
    from safetensors.numpy import save  # slow to import, and only saving needs it

    write_atomic(path, save(stored, metadata={_KEY: json.dumps(envelope)}))


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Load what `save_tensors` saved: (arrays by name, in the order saved; info), bit for bit.

    Every declared shape is compared with the file's size before anything is allocated, and every
    tensor with its checksum. No code is run and no type is built by name.

    Raises DamagedFileError, naming the tensor, for a file that is cut off, changed or not one of
    ours; FileError for one that cannot be read or was saved by a newer chainrule.
    """
    source = Path(path)
    with _opened(source) as file:
        header, envelope = _read_description(file, source)
        arrays = {
            name: _read_tensor(file, name, header.places[name], checksum, source)
            for name, checksum in envelope.checksums.items()
        }
    return arrays, envelope.info


def inspect(path: str | os.PathLike[str]) -> Contents:
    """What is in a file, without reading its data; raises as `load_tensors` does.

    The checksum of the description is checked, those of the tensors are not.
    """
    source = Path(path)
    with _opened(source) as file:
        header, envelope = _read_description(file, source)
    places = {name: header.places[name] for name in envelope.checksums}
    tensors = {n: TensorType(p.dtype.newbyteorder("="), p.shape) for n, p in places.items()}
    return Contents(envelope.info, tensors)


def _stored(name: str, array: Array) -> Array:
    """The array as it goes into a file: little-endian, its elements in row order."""
    if not _is_name(name):
        raise UsageError(f"a tensor cannot be saved under the name {name!r}", do="rename it")
    array = np.asarray(array)
    if array.dtype.newbyteorder("=") not in _STORED:
        raise UsageError(
            f"tensor {name!r} has the type {array.dtype}, which a file cannot hold",
            do="save arrays of bool, int8 to int64, uint8 to uint64 or float16 to float64",
        )
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=None)


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or name == "__metadata__":  # the format's own key
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(info: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(info))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the description cannot be saved as JSON: {error}",
            do="use strings, numbers, booleans, None, lists and dicts",
        ) from error


def _info_checksum(version: int, text: str) -> str:
    """Over the version too, so that a damaged file does not pass for one of a newer chainrule."""
    return hashlib.blake2b(f"{version} {text}".encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _tensor_checksum(name: str, array: Array) -> str:
    """Over the name, type and shape too: equal bytes read as another array are another array."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
    if array.size:
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading; every refusal of the operating system becomes a FileError."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        missing = f"there is no file {path.name}"
        raise FileError(missing, where=str(path), do="check the path") from error
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise file_error(f"could not read {path.name}", path, error) from error


def _read_description(file: BinaryIO, path: Path) -> tuple[Header, _Envelope]:
    header = read_header(file, path)
    text = header.metadata.get(_KEY)
    if text is None:
        raise DamagedFileError(
            f"{path.name} was not saved by chainrule: it has no description of ours",
            where=str(path),
            do="give a file saved by chainrule; other tensors can be read with safetensors",
        )
    envelope = _parse_envelope(text, path)
    for name in sorted(header.places.keys() ^ envelope.checksums.keys()):
        verb = "has no checksum" if name in header.places else "is missing"
        raise damaged(f"tensor {name!r} in {path.name} {verb}", path)
    return header, envelope


def _parse_envelope(text: str, path: Path) -> _Envelope:
    broken = damaged(f"the description in {path.name} is damaged", path)
    try:
        envelope = json.loads(text)
        version, info = envelope["version"], envelope["info"]
        if _info_checksum(version, info) != envelope["info_checksum"]:
            raise broken
        if version > _VERSION:
            raise FileError(
                f"{path.name} has layout {version}, this chainrule reads up to {_VERSION}",
                where=str(path),
                do="upgrade chainrule",
            )
        parsed, checksums = json.loads(info), envelope["checksums"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise broken from error
    if not isinstance(parsed, dict) or not isinstance(checksums, dict):
        raise broken
    return _Envelope(parsed, checksums)


def _read_tensor(file: BinaryIO, name: str, place: Place, checksum: Any, path: Path) -> Array:
    """One tensor's bytes, read into a new array of this machine's byte order."""
    buffer = bytearray(place.bytes)
    file.seek(place.start)
    if file.readinto(buffer) != place.bytes:  # type: ignore[attr-defined]
        raise damaged(f"{path.name} is cut off in tensor {name!r}", path)
    try:
        array = np.frombuffer(buffer, dtype=place.dtype).reshape(place.shape)
    except (ValueError, OverflowError) as error:  # an empty tensor with an axis too long for NumPy
        raise damaged(f"tensor {name!r} in {path.name} has an impossible shape", path) from error
    if _tensor_checksum(name, array) != checksum:
        raise damaged(f"tensor {name!r} in {path.name} is damaged: its checksum differs", path)
    return array.astype(place.dtype.newbyteorder("="), copy=False)
