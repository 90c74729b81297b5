"""Values of LLVM assembly: their text, kind and lanes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

# kind -> LLVM type of one element in registers
KINDS = {
    "f32": "float",
    "f64": "double",
    "i8": "i8",
    "i16": "i16",
    "i32": "i32",
    "i64": "i64",
    "u8": "i8",
    "u16": "i16",
    "u32": "i32",
    "u64": "i64",
    "bool": "i1",
    "ptr": "ptr",
}
SIZES = {"f32": 4, "f64": 8, "bool": 1, "ptr": 8} | {
    f"{s}{n}": n // 8 for s in "iu" for n in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Value:
    """An SSA value or a literal: its text, its kind, and its lanes (0 for a scalar)."""

    text: str
    kind: str
    lanes: int = 0

    @property
    def type(self) -> str:
        element = KINDS[self.kind]
        return f"<{self.lanes} x {element}>" if self.lanes else element

    @property
    def is_float(self) -> bool:
        return self.kind[0] == "f"

    @property
    def is_signed(self) -> bool:
        return self.kind[0] == "i"

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def literal(value: float, kind: str) -> Value:
    """A constant, exact to the bit."""
    if kind == "bool":
        return Value("true" if value else "false", kind)
    if kind[0] != "f":
        return Value(str(int(value)), kind)
    # LLVM writes float literals as the double of the same value, in hexadecimal.
    number = float(np.float32(value)) if kind == "f32" else float(value)
    if number != number:
        number = float("nan")
    return Value(f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}", kind)


def index(value: int) -> Value:
    """A whole number as an index."""
    return Value(str(value), "i64")
