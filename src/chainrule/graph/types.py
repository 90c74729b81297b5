"""The type of a value in the graph: a dtype and a static shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chainrule.errors import TraceError

# Short names, as in the text form of a graph. Closed: what is not here cannot be traced.
DTYPE_NAMES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u8": np.dtype(np.uint8),
    "u16": np.dtype(np.uint16),
    "u32": np.dtype(np.uint32),
    "u64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
}
_SHORT = {dtype: name for name, dtype in DTYPE_NAMES.items()}


def short_name(dtype: np.dtype) -> str:
    """The short name of a dtype, such as "f32"; TraceError for a dtype that has none."""
    try:
        return _SHORT[dtype]
    except KeyError:
        raise TraceError(
            f"arrays of dtype {dtype} cannot be traced",
            do=f"cast to one of {', '.join(str(d) for d in _SHORT)} first",
        ) from None


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A dtype (native byte order) and a shape of non-negative integers."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize

    def without_first(self) -> ArrayType:
        """The type of what the first axis counts."""
        return ArrayType(self.dtype, self.shape[1:])

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    def __str__(self) -> str:
        return f"{short_name(self.dtype)}[{','.join(map(str, self.shape))}]"

    @staticmethod
    def of_name(name: str, shape: tuple[int, ...]) -> ArrayType:
        """The type of arrays of a dtype by its short name."""
        return ArrayType(DTYPE_NAMES[name], shape)

    @staticmethod
    def of(array: np.ndarray | np.generic) -> ArrayType:
        """The type of an array; byte order does not matter, unsupported dtypes raise."""
        dtype = array.dtype.newbyteorder("=")
        short_name(dtype)
        return ArrayType(dtype, array.shape)


@dataclass(frozen=True, slots=True)
class TupleType(ArrayType):
    """The type of a loop: several arrays. As an array it holds nothing (dtype void)."""

    parts: tuple[ArrayType, ...] = ()

    @property
    def size(self) -> int:
        """The elements of all parts together."""
        return sum(part.size for part in self.parts)

    @property
    def bytes(self) -> int:
        """The memory of all parts together."""
        return sum(part.bytes for part in self.parts)

    @property
    def is_float(self) -> bool:
        """Whether a delta can come to any part."""
        return any(part.is_float for part in self.parts)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.parts))})"

    @staticmethod
    def of_parts(parts: tuple[ArrayType, ...]) -> TupleType:
        """The type of these arrays together."""
        return TupleType(np.dtype("V"), (), parts)
