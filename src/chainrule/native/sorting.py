"""A stable order by bottom-up merging."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.native import elementwise
from chainrule.native.ir import Function, Value, index
from chainrule.native.places import Coordinate, Place, offset_of, plus, row_major
from chainrule.native.regions import Region
from chainrule.native.writer import Writer, nest

Numbers = tuple[Value, int]  # where numbers lie, and the stride between them


def emit_argsort(w: Writer, region: Region, scratch: Value) -> None:
    """Sorts the numbers 0 .. n-1 by the keys they point at; `scratch` has room for n of them.

    log2(n) passes merge runs of doubling length from one array into the other; the first array is
    chosen so that the last pass ends in the result.
    """
    node = region.lead
    assert node is not None
    fn, (x,), axis = w.fn, node.operands, node["axis"]
    size = x.shape[axis]
    rest = [i for i in range(x.ndim) if i != axis]
    widths: list[int] = []
    while not widths or widths[-1] * 2 < size:
        widths.append(widths[-1] * 2 if widths else 1)
    stride = row_major(node.shape)[axis]

    def one(outer: Place) -> None:
        coordinates = dict(zip(rest, outer, strict=True))
        zero = tuple({**coordinates, axis: Coordinate(index(0))}[a] for a in range(x.ndim))
        base = fn.at(w.pointers[node], offset_of(fn, zero, row_major(node.shape)).scalar, "i64")

        def key(number: Value) -> Value:
            place = tuple({**coordinates, axis: Coordinate(number)}[a] for a in range(x.ndim))
            w.enter(place, 0, None)
            return w.value(x, place)

        arrays = [(base, stride), (scratch, 1)]
        now = arrays[len(widths) % 2]
        with fn.loop(index(0), index(size)) as i:
            _put(fn, now, i, i)
        for width in widths:
            other = arrays[1] if now is arrays[0] else arrays[0]
            with fn.loop(index(0), index(size), 2 * width) as low:
                _merge(fn, now, other, low, width, size, key)
            now = other

    if size:
        nest(w, [x.shape[i] for i in rest], one)


def _get(fn: Function, array: Numbers, i: Value) -> Value:
    return fn.load(fn.at(array[0], fn.mul(i, index(array[1])), "i64"), "i64")


def _put(fn: Function, array: Numbers, i: Value, x: Value) -> None:
    fn.store(x, fn.at(array[0], fn.mul(i, index(array[1])), "i64"))


def _merge(
    fn: Function,
    source: Numbers,
    target: Numbers,
    low: Value,
    width: int,
    size: int,
    key: Callable[[Value], Value],
) -> None:
    """Merges source[low:low+width] and source[low+width:low+2*width] into target."""
    last = index(size)

    def bounded(x: Value, limit: Value) -> Value:
        return fn.select(fn.compare("lt", x, limit), x, limit)

    middle = bounded(plus(fn, low, index(width)), last)
    end = bounded(plus(fn, low, index(2 * width)), last)
    left, right = fn.slot("i64"), fn.slot("i64")
    fn.put(left, low)
    fn.put(right, middle)
    with fn.loop(low, end) as out:
        i, j = fn.get(left, "i64"), fn.get(right, "i64")
        first = _get(fn, source, bounded(i, index(size - 1)))
        second = _get(fn, source, bounded(j, index(size - 1)))
        after = _before(fn, key(second), key(first))  # only then the right one goes first
        has_left, has_right = fn.compare("lt", i, middle), fn.compare("lt", j, end)
        none_right = fn.binary("xor", has_right, Value("true", "bool"))
        not_after = fn.binary("xor", after, Value("true", "bool"))
        take_left = fn.binary("and", has_left, fn.binary("or", none_right, not_after))
        _put(fn, target, out, fn.select(take_left, first, second))
        fn.put(left, fn.select(take_left, fn.add(i, index(1)), i))
        fn.put(right, fn.select(take_left, j, fn.add(j, index(1))))


def _before(fn: Function, x: Value, y: Value) -> Value:
    """Whether x sorts before y; NaN sorts last."""
    less = fn.compare("lt", x, y)
    if not x.is_float:
        return less
    only_y = fn.binary(
        "and", elementwise.is_nan(fn, y), fn.let(f"fcmp ord {x}, {x.text}", "bool", x.lanes)
    )
    return fn.binary("or", less, only_y)
