"""Text -> Graph: the inverse of `graph/text.py`."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, UsageError
from chainrule.graph.build import input as input_node
from chainrule.graph.build import make
from chainrule.graph.node import Graph, Node, Origin, made_by
from chainrule.graph.types import DTYPE_NAMES, ArrayType
from chainrule.graph.verify import verify

_NAME = r'"(?:[^"\\]|\\.)*"|[A-Za-z_][\w.]*'
_VALUE = rf"%\d+|{_NAME}"
_TYPE = r"\w+\[[\d,]*\]"
_TYPES = rf"{_TYPE}|\((?:{_TYPE}(?:, )?)*\)"
_HEAD = re.compile(rf"(\w+) ({_NAME})\((.*)\) -> \((.*)\) \{{$")
_PARAMETER = re.compile(rf"({_NAME}): ({_TYPE})(?:, |$)")
_CONSTANT = re.compile(rf"(%\d+) = constant (\{{.*?\}}|@\w+) : ({_TYPE})$")
_LINE = re.compile(rf"(%\d+) = (\w+)\((.*?)\)((?: \w+=.*)?) : ({_TYPES})$")
_ATTRIBUTE = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\([^)]*\)|\S+)')
_ORIGIN = re.compile(
    r"(?:(?P<file>.*?):(?P<line>\d+))?(?: ?in (?P<scope>.+?))?(?: ?by (?P<by>.+))?$"
)


def from_text(text: str) -> Graph:
    """The graph that `to_text` printed; UsageError with the line number where it cannot be."""
    lines = [line.strip() for line in text.strip().splitlines()]
    blobs = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith("data "):
            with _at_line(number):
                _, key, encoded = line.split(" ")
                blobs[key] = zlib.decompress(base64.b85decode(encoded))
    graph, behind = _graph(lines, 0, "graph", blobs)
    with _at_line(behind - 1):
        return verify(graph)


def _graph(lines: list[str], start: int, kind: str, blobs: dict[str, bytes]) -> tuple[Graph, int]:
    """The graph whose head is the line counted from 0 by `start`, and the line behind it."""
    values: dict[str, Node] = {}
    inputs = []
    with _at_line(start + 1):
        head = _match(_HEAD, lines[start] if start < len(lines) else "")
        if head[1] != kind:
            raise UsageError(f"not the head of a {kind}: {lines[start]!r}")
        for name, type_text in _PARAMETER.findall(head[3]):
            values[name] = input_node(_unquote(name), _type(type_text))
            inputs.append(values[name])
    place = start + 1
    while place < len(lines):
        line = lines[place]
        if line.startswith("return "):
            with _at_line(place + 1):
                outputs = tuple(_find(values, n) for n in re.findall(_VALUE, line[7:]))
                names = tuple(_unquote(n) for n in re.findall(_NAME, head[4]))
                graph = Graph(_unquote(head[2]), tuple(inputs), outputs, names)
            return graph, place + 2  # behind the brace
        body, behind = None, place + 1
        if behind < len(lines) and lines[behind].startswith("body "):
            body, behind = _graph(lines, behind, "body", blobs)
        with _at_line(place + 1):
            _parse_line(line, values, blobs, body)
        place = behind
    raise UsageError("the text of a graph ends without a return line", where=f"line {len(lines)}")


@contextmanager
def _at_line(number: int) -> Iterator[None]:
    """Whatever is wrong inside is wrong with this line of the text."""
    try:
        yield
    except ChainruleError as error:
        raise UsageError(error.what, where=f"line {number}", do=error.do) from None
    except (KeyError, ValueError, zlib.error) as error:
        what = f"unknown: {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(what, where=f"line {number}") from None


def _parse_line(
    line: str, values: dict[str, Node], blobs: dict[str, bytes], body: Graph | None
) -> None:
    code, _, comment = line.partition("  # ")
    code = code.rstrip()
    with made_by(_origin(comment)):
        if found := _CONSTANT.match(code):
            name, literal, kind = found.groups()
            values[name] = make("constant", value=_constant(literal, _type(kind), blobs))
            return
        name, op, operands, attributes, kind = _match(_LINE, code).groups()
        nodes = [_find(values, n) for n in re.findall(_VALUE, operands)]
        pairs = {key: _attribute(text) for key, text in _ATTRIBUTE.findall(attributes)}
        node = make(op, *nodes, **pairs, **({} if body is None else {"body": body}))
        if str(node.type) != kind:
            raise UsageError(f"{op} gives {node.type} here, not {kind}")
        values[name] = node


def _origin(comment: str) -> Origin:
    found = _ORIGIN.match(comment)
    if not comment or found is None:
        return Origin()
    parts = found.groupdict(default="")
    return Origin(parts["file"], int(parts["line"] or 0), parts["scope"], parts["by"])


def _attribute(text: str) -> Any:
    if text in DTYPE_NAMES:
        return DTYPE_NAMES[text]
    if text.startswith("("):
        return tuple(int(part) for part in text[1:-1].split(",") if part.strip())
    if text.startswith('"'):
        return json.loads(text)
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return float(text)


def _constant(literal: str, type: ArrayType, blobs: dict[str, bytes]) -> np.ndarray:
    if literal.startswith("@"):
        if literal not in blobs:
            raise UsageError(
                f"the bytes of constant {literal} are not in the text",
                do="print the graph with to_text(graph, data=True)",
            )
        flat = np.frombuffer(blobs[literal], type.dtype.newbyteorder("<")).astype(type.dtype)
    elif type.dtype == np.bool_:
        flat = np.array([word == "True" for word in _elements(literal)], np.bool_)
    else:
        flat = np.array([type.dtype.type(word) for word in _elements(literal)], type.dtype)
    array = flat.reshape(type.shape)
    array.flags.writeable = False
    return array


def _elements(literal: str) -> list[str]:
    return [word.strip() for word in literal[1:-1].split(",") if word.strip()]


def _type(text: str) -> ArrayType:
    name, _, sizes = text[:-1].partition("[")
    return ArrayType(DTYPE_NAMES[name], tuple(int(s) for s in sizes.split(",") if s))


def _unquote(name: str) -> str:
    return str(json.loads(name)) if name.startswith('"') else name


def _find(values: dict[str, Node], name: str) -> Node:
    if name not in values:
        raise UsageError(f"{name} is used before it is defined")
    return values[name]


def _match(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    found = pattern.match(line)
    if found is None:
        raise UsageError(f"not a line of a graph: {line!r}")
    return found
