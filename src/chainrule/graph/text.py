"""The text form of a graph: reads, diffs, and parses back (`graph/parse.py`).

    graph loss(w: f32[3], x: f32[5,3]) -> (value) {
      %2 = contract(x, w) spec="ab,b->a" : f32[5]     # net.py:4 in layers.0
      ...
      return %7
    }

The body of a loop follows its line, indented. Constants of more than 64 elements are printed by
size and checksum; with `data=True` their bytes follow in a `data` section, and only then can such a
text be parsed back.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.graph.node import Graph, Node
from chainrule.graph.types import short_name

INLINE_ELEMENTS = 64
COMMENT_COLUMN = 64


def to_text(graph: Graph, *, data: bool = False, origins: bool = True) -> str:
    """The graph as text; `data` adds the bytes of large constants, `origins` the comments."""
    blobs: dict[str, np.ndarray] = {}
    lines = _lines("graph", graph, origins, blobs)
    if data:
        lines += [f"data {key} {_encode(array)}" for key, array in blobs.items()]
    return "\n".join(lines)


def _lines(kind: str, graph: Graph, origins: bool, blobs: dict[str, np.ndarray]) -> list[str]:
    """A graph, or the body of a loop, which stands indented behind the loop's own line."""
    names = value_names(graph)
    parameters = ", ".join(f"{names[n]}: {n.type}" for n in graph.inputs)
    lines = [f"{kind} {_word(graph.name)}({parameters}) -> ({_words(graph.output_names)}) {{"]
    for node in graph.nodes():
        if node.op == "input":
            continue
        line = f"  {names[node]} = {_expression(node, names, blobs)} : {node.type}"
        origin = " ".join(str(node.origin).split())  # on one line, whatever names are in it
        if origins and origin:
            line = f"{line:<{COMMENT_COLUMN}}  # {origin}"
        lines.append(line)
        for key, value in node.attributes.items():
            if isinstance(value, Graph):
                lines += [f"    {inner}" for inner in _lines(key, value, origins, blobs)]
    results = ", ".join(names[n] for n in graph.outputs)
    return [*lines, f"  return {results}", "}"]


def value_names(graph: Graph) -> dict[Node, str]:
    """What each node is called in the text: inputs by name, the rest by number."""
    table = {node: f"%{number}" for number, node in enumerate(graph.nodes())}
    taken: set[str] = set()
    for node in graph.inputs:
        name, repeats = node["name"], 1
        while name in taken:  # a tree may have the keys 1 and "1"
            repeats += 1
            name = f"{node['name']}'{repeats}"
        taken.add(name)
        table[node] = _word(name)
    return table


def _expression(node: Node, names: Mapping[Node, str], blobs: dict[str, np.ndarray]) -> str:
    if node.op == "constant":
        return f"constant {_constant(node['value'], blobs)}"
    operands = ", ".join(names[n] for n in node.operands)
    written = ((key, v) for key, v in node.attributes.items() if not isinstance(v, Graph))
    attributes = "".join(f" {key}={_attribute(v)}" for key, v in written)
    return f"{node.op}({operands}){attributes}"


def _attribute(value: Any) -> str:
    if isinstance(value, np.dtype):
        return short_name(value)
    if isinstance(value, tuple):
        return f"({', '.join(str(int(v)) for v in value)})"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value)


def _constant(array: np.ndarray, blobs: dict[str, np.ndarray]) -> str:
    if array.size <= INLINE_ELEMENTS:
        return "{" + ", ".join(str(v) for v in array.ravel()) + "}"
    key = f"@{zlib.crc32(array.tobytes()):08x}"
    while key in blobs and blobs[key].tobytes() != array.tobytes():
        key += "x"  # another array of the same checksum
    blobs[key] = array
    return key


def _encode(array: np.ndarray) -> str:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b85encode(zlib.compress(little.tobytes())).decode()


def _word(name: str) -> str:
    """A name as it is where it is a plain word, else quoted."""
    plain = name.replace(".", "").replace("_", "")
    if plain.isalnum() and plain.isascii() and not name[:1].isdigit() and name[0] != ".":
        return name
    return json.dumps(name)


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(_word(n) for n in names)
