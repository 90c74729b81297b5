"""Windows: what is sliced of them, and overlap-adds that are contractions themselves.

The delta of a convolution's input is the overlap-add of what each window sends back,
`fold(contract(delta, weight))`. Each of its elements is also a sum over a window of deltas, with
the weights in reverse; in that form it is one contraction, and nothing is stored in between
(Dumoulin and Visin 2016 draw it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.graph import Graph, Node, build, users
from chainrule.graph.ops import split_spec
from chainrule.rewrite.joining import joined
from chainrule.rewrite.rebuilding import rebuilt, remade
from chainrule.rewrite.residues import Product, by_residue
from chainrule.rewrite.rules import rule, simplified


@rule("slice")
def _slice_of_windows(node: Node) -> Node | None:
    """Fewer windows, or fewer of their elements, are the windows of a slice: every s-th window is
    a stride, every d-th element a dilation."""
    (view,) = node.operands
    if view.op != "window" or not node.type.size:
        return None
    (x,) = view.operands
    start, stop, step = list(node["start"]), list(node["stop"]), list(node["step"])
    strides, dilations = list(view["strides"]), list(view["dilations"])
    for number, axis in enumerate(view["axes"]):
        inner = x.ndim + number
        first = start[axis] * strides[number] + start[inner] * dilations[number]
        strides[number] *= step[axis]
        dilations[number] *= step[inner]
        last = (node.shape[axis] - 1) * strides[number] + (node.shape[inner] - 1) * dilations[
            number
        ]
        start[axis], stop[axis], step[axis] = first, first + last + 1, 1
    part = simplified(build.slice(x, start[: x.ndim], stop[: x.ndim], step[: x.ndim]))
    return build.window(part, view["axes"], node.shape[x.ndim :], strides, dilations)


@rule("slice")
def _slice_of_padded(node: Node) -> Node | None:
    """What is cut off need not be put there first."""
    (padded,) = node.operands
    if padded.op != "pad" or any(step != 1 for step in node["step"]) or not node.type.size:
        return None
    (x,) = padded.operands
    first, last, low, high = [], [], [], []
    for axis, size in enumerate(x.shape):
        start, stop = node["start"][axis], node["stop"][axis]
        step, offset = padded["interior"][axis] + 1, padded["low"][axis]
        begin = max(-((offset - start) // step), 0)
        end = min((stop - 1 - offset) // step, size - 1)
        if begin > end:  # nothing but border
            return None
        first.append(begin)
        last.append(end + 1)
        low.append(offset + begin * step - start)
        high.append(stop - 1 - (offset + end * step))
    part = build.slice(x, first, last, [1] * x.ndim)
    return build.pad(part, low, high, padded["interior"], padded["value"])


@rule("fold")
def _fold_of_padded(node: Node) -> Node | None:
    """The transpose of that: windows between which, and in which, zeros were put are fewer windows
    with larger strides, or windows with larger dilations."""
    (padded,) = node.operands
    if padded.op != "pad" or padded["value"] != 0 or not padded.operands[0].type.size:
        return None
    (x,) = padded.operands
    low, interior = list(padded["low"]), list(padded["interior"])
    high = list(padded["high"])[: node.ndim]
    strides, dilations = list(node["strides"]), list(node["dilations"])
    sizes = list(x.shape[: node.ndim])
    for number, axis in enumerate(node["axes"]):
        inner = node.ndim + number
        first = low[axis] * strides[number] + low[inner] * dilations[number]
        strides[number] *= interior[axis] + 1
        dilations[number] *= interior[inner] + 1
        last = (x.shape[axis] - 1) * strides[number] + (x.shape[inner] - 1) * dilations[number]
        sizes[axis], interior[axis] = last + 1, 0
        low[axis], high[axis] = first, node.shape[axis] - first - last - 1
    folded = build.make(
        "fold",
        x,
        axes=node["axes"],
        sizes=x.shape[node.ndim :],
        strides=tuple(strides),
        dilations=tuple(dilations),
        shape=tuple(sizes),
    )
    return build.pad(folded, low[: node.ndim], high, interior[: node.ndim])


@rule("window")
def _single_elements(node: Node) -> Node | None:
    """Windows of one element each are a slice."""
    if any(size > 1 for size in node["sizes"]):
        return None
    (x,) = node.operands
    step = [1] * x.ndim
    for axis, stride in zip(node["axes"], node["strides"], strict=True):
        step[axis] = stride
    return build.reshape(build.slice(x, [0] * x.ndim, x.shape, step), node.shape)


def gather_folds(graph: Graph) -> Graph:
    """The overlap-add of a contraction, as a contraction over windows; and where only a part of it
    is read (a convolution pads its input, and the border's delta goes nowhere), only that part.
    Also the sum of parts that stand in zeros, as the parts put together."""
    readers = users(graph.nodes())
    shared = set(graph.outputs) | {node for node, several in readers.items() if len(several) > 1}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        made = joined(gathered(remade(node, operands)))
        is_part = node.op == "slice" and node.operands[0].op == "fold"
        if is_part and node.operands[0] not in shared and operands[0].op == "contract":
            return _part_of_product(made)
        return made

    return rebuilt(graph, change)


def _part_of_product(node: Node) -> Node:
    """A slice of a contraction as the contraction of slices."""
    (product,) = node.operands
    left, right, result = split_spec(product["spec"])
    bounds = dict(
        zip(result, zip(node["start"], node["stop"], node["step"], strict=True), strict=True)
    )

    def cut(x: Node, letters: str) -> Node:
        sides = [bounds.get(c, (0, n, 1)) for c, n in zip(letters, x.shape, strict=True)]
        return build.slice(x, *zip(*sides, strict=True)) if sides else x

    x, y = product.operands
    return build.contract(cut(x, left), cut(y, right), product["spec"])


def gathered(node: Node) -> Node:
    """`fold(contract(g, w))` as `contract(window(pad(g)), reverse(w))`; else the node itself.

    g has the axes of the windows' places, w those inside a window. The zeros around g and, with
    strides, between its elements must count as zeros whatever w holds, so g must be a delta: one
    with strong zeros. Where windows do not overlap there is nothing to add up.
    """
    if node.op != "fold" or node.operands[0].op != "contract":
        return node
    extents = zip(node["sizes"], node["dilations"], node["strides"], strict=True)
    if all((size - 1) * dilation < stride for size, dilation, stride in extents):
        return node
    product = Product.of(node)
    if product is None:
        return node
    apart = by_residue(node, product)
    return _gathered(node, product, node.shape) if apart is None else apart(_gathered)


def _gathered(node: Node, product: Product, shape: Sequence[int]) -> Node:
    """In a larger `shape`, with zeros behind the rest."""
    axes = [product.g.index(letter) for letter in product.outer]
    spread = _spread(node, product.delta, axes, shape)
    free = iter(sorted(set(map(chr, range(97, 123))) - set(product.g + product.w)))
    names = {letter: next(free) for letter in product.outer}
    places = "".join(names.get(letter, letter) for letter in product.g)
    renamed = "".join(names.get(letter, letter) for letter in product.result[: node.ndim])
    inner = "".join(product.inner)
    turned = build.reverse(product.weight, [product.w.index(letter) for letter in product.inner])
    spec = f"{places}{inner}{product.g_mark},{product.w}{product.w_mark}->{renamed}"
    return build.contract(spread, turned, spec)


def _spread(fold: Node, delta: Node, axes: Sequence[int], shape: Sequence[int]) -> Node:
    """All windows, of stride 1, over the deltas put where their windows begin."""
    low, high, interior = ([0] * delta.ndim for _ in range(3))
    settings: Mapping[str, Any] = fold.attributes
    for number, axis in enumerate(axes):
        stride = settings["strides"][number]
        reach = (settings["sizes"][number] - 1) * settings["dilations"][number]
        size = shape[settings["axes"][number]]
        low[axis], interior[axis] = reach, stride - 1
        high[axis] = size - 1 - (delta.shape[axis] - 1) * stride
    padded = build.pad(delta, low, high, interior)
    ones = [1] * len(axes)
    return build.window(padded, axes, settings["sizes"], ones, settings["dilations"])
