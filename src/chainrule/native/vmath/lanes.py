"""Paths that are rarely taken: scalar code in a function of its own, called lane by lane.

The same scalar code serves scalars and vectors of any width, and the kernels that use it stay
small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.native.ir import Function, Value, index

# Emits scalar code: arguments -> results.
Scalar = Callable[..., Sequence[Value]]


def any_lane(fn: Function, condition: Value) -> Value:
    """Whether a condition holds in any lane."""
    if not condition.lanes:
        return condition
    name = f"@llvm.vector.reduce.or.v{condition.lanes}i1"
    fn.declared.add(f"declare i1 {name}({condition.type})")
    return fn.let(f"call i1 {name}({condition})", "bool", 0)


def where_rare(
    fn: Function,
    condition: Value,
    name: str,
    scalar: Scalar,
    arguments: Sequence[Value],
    usual: Sequence[Value],
) -> list[Value]:
    """`usual`, but what `scalar` makes of the arguments in lanes where the condition holds.

    `name` is that of the function in the module, one for each meaning.
    """
    kinds = [value.kind for value in usual]
    _define(fn, name, scalar, [value.kind for value in arguments], kinds)
    lanes = condition.lanes
    result = [fn.slot(kind, lanes) for kind in kinds]
    for slot, value in zip(result, usual, strict=True):
        fn.put(slot, value)
    # What the function is given an address of stays in memory; the results do not.
    taken = [fn.cast(condition, "u8"), *arguments]
    sources = [fn.slot(value.kind, lanes) for value in taken]
    made = [fn.slot(kind, lanes) for kind in kinds]
    with fn.when(any_lane(fn, condition)):
        for slot, value in zip(sources, taken, strict=True):
            fn.put(slot, value)
        pointers = [f"ptr {slot.text}" for slot in (*sources, *made)]
        fn.emit(f"call void @{name}({', '.join([*pointers, 'i64 0', f'i64 {max(lanes, 1)}'])})")
        for slot, other, value in zip(result, made, usual, strict=True):
            fn.put(slot, fn.select(condition, fn.get(other, value.kind, lanes), value))
    return [fn.get(slot, kind, lanes) for slot, kind in zip(result, kinds, strict=True)]


def _define(
    fn: Function, name: str, scalar: Scalar, takes: Sequence[str], gives: Sequence[str]
) -> None:
    """The function in the module: `scalar` for those of so many elements in memory that are
    marked."""
    inner = Function(name, ["noalias"] * (1 + len(takes) + len(gives)), fn.declared)
    marks, *others = inner.parameters
    sources, results = others[: len(takes)], others[len(takes) :]
    with (
        inner.loop(index(0), inner.threads) as i,  # the last parameter counts elements here
        inner.when(inner.load(inner.at(marks, i, "bool"), "bool")),
    ):
        loaded = [
            inner.load(inner.at(p, i, kind), kind) for p, kind in zip(sources, takes, strict=True)
        ]
        for p, value in zip(results, scalar(inner, *loaded), strict=True):
            inner.store(value, inner.at(p, i, value.kind))
    # Written into every kernel, it would be what they spend most of their instructions on.
    fn.declared.add(inner.text().replace(") #0 {", ") noinline cold #0 {"))
