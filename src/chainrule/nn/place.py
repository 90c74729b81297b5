"""Where in the net code is running: paths of layers, and how errors speak of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.tracing.context import Context, current
from chainrule.tracing.trees import children, is_array


class Newest(dict[str, Any]):
    """Outputs by path of which only the newest is kept: outside training nobody asks for the
    others, and an array that is kept cannot be freed."""

    def __setitem__(self, path: str, output: Any) -> None:
        self.clear()
        super().__setitem__(path, output)


def run_at(path: str, label: str, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    """Calls a part of the net at its place: random draws, errors and graph nodes name the path,
    and the output is recorded under it."""
    context = current()
    if context is None:
        return function(*inputs)
    context.scopes.append(path)
    try:
        output = function(*inputs)
    except Exception as error:
        if not isinstance(error, ChainruleError) and not hasattr(error, "__notes__"):
            error.add_note(f"in {_titled(path, label)}")
        raise
    finally:
        context.scopes.pop()
    context.outputs[path] = output
    return output


def title(label: str) -> str:
    """The layer that is being called, for an error: `layers.2 (Dense 32 -> 10)`."""
    context = current()
    return _titled(context.scope if context else "", label)


def _titled(path: str, label: str) -> str:
    return f"{path} ({label})" if path else label


def source(x: Any) -> str:
    """Where an input came from, for an error: the part of the net that made it, and its shape."""
    shape = f"shape {tuple(x.shape)}"
    context = current()
    for path, output in context.outputs.items() if context else ():
        if output is x:
            return f"the output of {_titled(path, _label_at(context, path))}, {shape}"
    return f"its input, {shape}"


def _label_at(context: Context | None, path: str) -> str:
    for tree in context.named if context else ():
        part = tree
        for name in filter(None, path.split(".")):
            part = dict(children(part) or ()).get(name)
        if part is not None:
            return label_of(part)
    return "a layer"


def label_of(part: Any) -> str:
    """A part of a net in a few words: `Dense 64 -> 32`, `relu`."""
    return str(part.label()) if hasattr(part, "label") else shown(part)


def shown(value: Any) -> str:
    """A setting as it reads in code; arrays only by dtype and shape."""
    if is_array(value):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, partial):
        settings = ", ".join(f"{name}={shown(v)}" for name, v in value.keywords.items())
        return f"{shown(value.func)}({settings})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(shown, value))})"
    return str(getattr(value, "__name__", None) or repr(value))
