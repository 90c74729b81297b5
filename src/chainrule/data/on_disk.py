"""Arrays that are larger than memory: rows in .npy files, written and read a piece at a time.

What is read is mapped, not loaded: the operating system brings in the rows that a batch asks for,
and takes them out again where memory is short.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import CHECK_PATH, DamagedFileError, DataError, FileError, ShapeError
from chainrule.store.atomic import PARTIAL

_HEADER = 128  # bytes; room for any number of rows, so that it can be written last


def open_rows(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of a .npy file, mapped for reading only. Raises FileError where it cannot be read,
    DamagedFileError where it is no such file, is cut short, or holds Python objects."""
    try:
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileError(f"there is no file {path}", do=CHECK_PATH) from None
    except (ValueError, EOFError) as error:  # numpy's words for a foreign or short file
        raise DamagedFileError(f"{path} is not a whole .npy file of numbers: {error}") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    if not isinstance(found, np.ndarray):  # several arrays in a zip file
        raise DamagedFileError(f"{path} is no .npy file of one array")
    return found


def write_rows(path: str | os.PathLike[str], pieces: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Writes pieces [any rows, ...] behind one another as one .npy file, and returns it mapped.

    Only one piece is in memory at a time. The file takes its name when it is whole. Raises
    ShapeError where a piece differs from the first in dtype or in the shape of its rows, DataError
    where there is no row, FileError where it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
    first: NDArray[Any] | None = None
    rows = 0
    try:
        with temporary.open("xb") as file:
            file.write(bytes(_HEADER))
            for piece in pieces:
                first = piece[:0] if first is None else first
                if piece.dtype.hasobject or (piece.dtype, piece.shape[1:]) != (
                    first.dtype,
                    first.shape[1:],
                ):
                    raise ShapeError(
                        f"a piece of {piece.dtype}{list(piece.shape)} does not go on from rows of "
                        f"{first.dtype}{list(first.shape[1:])}",
                        where=f"{target}, behind row {rows}",
                        do="give pieces of one dtype and one shape of rows",
                    )
                file.write(np.ascontiguousarray(piece).data)
                rows += len(piece)
            if first is None or rows == 0:
                raise DataError(f"there are no rows to write to {target}")
            file.seek(0)
            file.write(_header(first.dtype, (rows, *first.shape[1:])))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return open_rows(target)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The first bytes of a .npy file, version 1.0, filled up to a fixed length.

    Source: NumPy enhancement proposal 1, "A simple file format for NumPy arrays".
    """
    words = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    room = _HEADER - 10
    text = words.encode("latin1").ljust(room - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text
