"""Loops whose rows never meet: each step computes row r of every value from the rows r of others.

That is a recurrent layer over a batch: the sequences of a batch know nothing of each other, and
what they share (weights) does not change in the loop. Threads that each take some rows, from the
first kernel of the first step to the last one of the last, never wait for each other, and what one
of them carries stays in its own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from chainrule.graph import OPS, Graph, Node
from chainrule.graph.ops import split_spec
from chainrule.native.regions import VIEWS, Region, pads_lines

# Kernels that can be cut along their first axis.
_KINDS = frozenset("map contract sum max argmax pad concatenate fold".split())


def rows_apart(
    body: Graph, carries: int, sequences: int, memory: Set[Node], regions: Sequence[Region]
) -> int:
    """How many rows a scan's step has that never meet; 0 where they do, or there is one alone.

    The first inputs of the body are what is carried, and then the rows of sequences.
    """
    if not carries or not body.inputs[0].shape:
        return 0
    count = body.inputs[0].shape[0]
    own = body.inputs[: carries + sequences]
    if count < 2 or any(region.kind not in _KINDS for region in regions):
        return 0
    apart = _apart(body, {n for n in own if n.shape[:1] == (count,)}, count)
    whole = [*body.inputs[:carries], *body.outputs]
    if not all(n in apart for n in whole):
        return 0
    cut = all(_is_cut(region, apart) for region in regions)
    return count if cut and all(n in apart for n in memory if n.op != "constant") else 0


def _is_cut(region: Region, apart: Set[Node]) -> bool:
    """Whether a region's kernel can run on some of the rows."""
    if not region.domain or not all(n in apart for n in region.members):
        return False
    lead = region.lead
    if lead is None:
        return True
    if lead.op == "contract":
        return _is_product(lead)
    if lead.op == "pad":
        return pads_lines(lead)
    return lead.ndim > 1 or lead.op not in ("concatenate", "fold")


def _is_product(node: Node) -> bool:
    """Whether a contraction is a product of matrices whose rows are the result's: tiles run over
    rows of one operand, and vectors along columns of the other."""
    left, right, result = split_spec(node["spec"])
    if len(result) != 2 or min(node.shape) < 2:
        return False
    row, column = result[0], result[1]
    return (row in left) != (row in right) and (column in left) == (row in right) != (
        column in right
    )


def _apart(body: Graph, given: set[Node], count: int) -> set[Node]:
    """The values of a body whose first axis is `count` rows that depend each on the same row of the
    `given` ones, or on no row at all; all other values that depend on a row are left out."""
    apart: set[Node] = set(given)
    mixed: set[Node] = set()
    for node in body.nodes():
        if not any(n in apart or n in mixed for n in node.operands):
            continue  # an input, or the same whatever the rows are
        rule = _RULES.get(node.op)
        stays = OPS[node.op].elementwise or (rule is not None and rule(node, apart))
        known = all(n not in mixed for n in node.operands)
        (apart if stays and known and node.shape[:1] == (count,) else mixed).add(node)
    # What depends on no row can be computed for any of them: a result that does not change.
    return apart | {n for n in body.outputs if n not in mixed and n.shape[:1] == (count,)}


Rule = Callable[[Node, Set[Node]], bool]


def _keeps_first(node: Node, apart: Set[Node]) -> bool:
    """Views that leave the first axis alone, and reductions of others."""
    (x,) = node.operands
    if node.op == "transpose":
        return bool(node["axes"][0] == 0)
    if node.op == "slice":
        return x.shape[0] == node.shape[0] and node["step"][0] == 1
    if node.op == "reshape":
        return x.shape[0] == node.shape[0]
    if node.op == "broadcast":
        return x.ndim == node.ndim and x.shape[0] == node.shape[0]
    if node.op == "pad":
        return not (node["low"][0] or node["high"][0] or node["interior"][0])
    return 0 not in (node["axes"] if "axes" in node.attributes else (node["axis"],))


def _concatenate(node: Node, apart: Set[Node]) -> bool:
    return bool(node["axis"] != 0)


def _contract(node: Node, apart: Set[Node]) -> bool:
    left, right, result = split_spec(node["spec"])
    pairs = zip((left, right), node.operands, strict=True)
    return bool(result) and all(names[0] == result[0] for names, x in pairs if x in apart)


def _take(node: Node, apart: Set[Node]) -> bool:
    """Elements of each row; or rows of what does not change, chosen by the rows' own numbers."""
    source, numbers = node.operands
    if source in apart:
        return node["axis"] != 0 and numbers not in apart
    return bool(node["axis"] == 0)


_RULES: dict[str, Rule] = {
    **dict.fromkeys([*VIEWS, "sum", "max", "argmax", "pad", "fold"], _keeps_first),
    "concatenate": _concatenate,
    "contract": _contract,
    "take": _take,
}
