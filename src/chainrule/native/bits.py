"""Random bits: Philox4x32-10, sixteen blocks at a time."""

from __future__ import annotations

import numpy as np

from chainrule.graph import Node
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.places import Coordinate
from chainrule.native.regions import Region
from chainrule.native.writer import Writer


def emit_random_bits(w: Writer, region: Region, lanes: int) -> None:
    """Philox4x32-10, sixteen blocks at a time (see `random_bits.py` for the order)."""
    node = region.lead
    assert node is not None
    fn, (key, step) = w.fn, node.operands
    w.enter((), 0, None)
    words = [w.value(key, (Coordinate(index(i)),)) for i in range(2)]
    counter = w.value(step, ())
    groups = -(-node.type.size // 64)
    lane = np.arange(16)
    start, stop = w.split(groups)
    with fn.loop(start, stop) as g:
        base = fn.cast(fn.mul(g, index(16)), "u32")
        numbers = Value(f"<{', '.join(f'i32 {i}' for i in lane)}>", "u32", 16)
        c = [
            fn.add(fn.splat(base, 16), numbers),
            fn.splat(counter, 16),
            fn.splat(literal(node["salt"], "u32"), 16),
            fn.splat(literal(0, "u32"), 16),
        ]
        k = words
        for _ in range(10):
            c, k = _philox_round(fn, c, k)
        for word, x in enumerate(c):
            _store_words(w, node, x, fn.add(fn.mul(g, index(64)), index(word * 16)), groups, word)


def _philox_round(fn: Function, c: list[Value], k: list[Value]) -> tuple[list[Value], list[Value]]:
    high, low = [], []
    for x, multiplier in ((c[0], 0xD2511F53), (c[2], 0xCD9E8D57)):
        wide = fn.cast(x, "u64")
        product = fn.mul(wide, fn.same(wide, multiplier))
        high.append(fn.cast(fn.binary("lshr", product, fn.same(product, 32)), "u32"))
        low.append(fn.cast(product, "u32"))
    mixed = [
        fn.binary("xor", fn.binary("xor", high[1], c[1]), fn.splat(k[0], 16)),
        low[1],
        fn.binary("xor", fn.binary("xor", high[0], c[3]), fn.splat(k[1], 16)),
        low[0],
    ]
    grown = [fn.add(k[0], literal(0x9E3779B9, "u32")), fn.add(k[1], literal(0xBB67AE85, "u32"))]
    return mixed, grown


def _store_words(w: Writer, node: Node, x: Value, at: Value, groups: int, word: int) -> None:
    """Sixteen words; of the last group only those that exist."""
    fn, size = w.fn, node.type.size
    there = fn.at(w.pointers[node], at, "u32")
    numbers = fn.add(
        fn.splat(at, 16), Value(f"<{', '.join(f'i64 {i}' for i in range(16))}>", "i64", 16)
    )
    mask = fn.compare("lt", numbers, fn.splat(index(size), 16))
    fn.masked_store(x, there, mask)
