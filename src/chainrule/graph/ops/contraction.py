"""The contraction: the einsum of two operands."""

from __future__ import annotations

from chainrule.graph.ops.table import Attributes, Types, declare, fail, number
from chainrule.graph.types import ArrayType


def split_spec(spec: str) -> tuple[str, str, str]:
    """The letters of the left operand, the right operand and the result of "ij,jk->ik".

    A "!" behind an operand's letters says that its zeros are strong: 0 times anything is 0 there,
    also times infinity and NaN. Deltas have strong zeros.
    """
    operands, result = spec.replace("!", "").split("->")
    left, right = operands.split(",")
    return left, right, result


def strong_marks(spec: str) -> tuple[str, str]:
    """The "!" of each operand of a contraction, or "" where it has none."""
    left, right = spec.split("->")[0].split(",")
    return "!" * left.endswith("!"), "!" * right.endswith("!")


def _contract(types: Types, attributes: Attributes) -> ArrayType:
    sizes: dict[str, int] = {}
    *letters, result = split_spec(attributes["spec"])
    for subscripts, operand in zip(letters, types, strict=True):
        if len(subscripts) != operand.ndim or len(set(subscripts)) != len(subscripts):
            raise fail(f"contract: {subscripts!r} does not name the axes of {operand}")
        for letter, size in zip(subscripts, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise fail(
                    f"contract {attributes['spec']}: axis {letter!r} has size "
                    f"{sizes[letter]} on the left and {size} on the right"
                )
    if strong_marks(attributes["spec"]) == ("", "!"):
        raise fail("contract: only the left operand, or both, can have strong zeros")
    summed = set(sizes) - set(result)
    if len(set(result)) != len(result) or not set(result) <= set(sizes):
        raise fail(f"contract: {result!r} is not a choice of the operands' axes")
    if not summed <= set(letters[0]) & set(letters[1]):
        raise fail(f"contract {attributes['spec']}: a summed axis must be in both operands")
    return ArrayType(number(_scalars(types), {}).dtype, tuple(sizes[c] for c in result))


def _scalars(types: Types) -> Types:
    return tuple(ArrayType(t.dtype, ()) for t in types)


declare("contract", 2, "spec", _contract, "the einsum of two operands; ! marks strong zeros")
