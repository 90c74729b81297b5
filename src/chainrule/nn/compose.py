"""Layers made of layers: Sequential, Residual, and the usual stack of dense ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.errors import UsageError
from chainrule.nn.activations import activation as activation_by_name
from chainrule.nn.activations import relu
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_array
from chainrule.nn.layers import Dense
from chainrule.nn.place import label_of, run_at, shown
from chainrule.tracing.context import current
from chainrule.tracing.trees import join


def call_part(name: str, part: Any, *inputs: Any) -> Any:
    """Calls a part of a layer; a plain function gets the path of its place, as a layer has."""
    context = current()
    if isinstance(part, Layer) or context is None:
        return part(*inputs)
    return run_at(join(context.scope, name), label_of(part), part, inputs)


def check_part(owner: str, name: str, part: Any) -> None:
    """A part must be a layer or a function."""
    if isinstance(part, type):
        raise UsageError(
            f"{owner}: {name} is the class {part.__name__}, not a layer",
            do=f"make one: {part.__name__}(...)",
        )
    if isinstance(part, list | tuple):
        raise UsageError(
            f"{owner}: {name} is a {type(part).__name__}",
            do=f"give the layers one by one, as in {owner}(*layers)",
        )
    if not callable(part):
        raise UsageError(
            f"{owner}: {name} is {part!r}, which is neither a layer nor a function",
            do="give layers such as cr.nn.Dense(32) and functions such as cr.nn.relu",
        )


def _example(part: Any) -> Any:
    return part.example() if isinstance(part, Layer) else None


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Layers and functions one after the other: `Sequential(Dense(64, 32), relu, Dense(32, 10))`.

    Paths are `layers.0`, `layers.1`, ...; so the first weight is `layers.0.weight`.
    """

    layers: tuple[Any, ...]

    def __init__(self, *layers: Any) -> None:
        object.__setattr__(self, "layers", layers)
        self.check()

    def check(self) -> None:
        for number, part in enumerate(self.layers):
            check_part("Sequential", f"layers.{number}", part)

    def example(self) -> Any:
        return _example(self.layers[0]) if self.layers else None

    def forward(self, x: Any) -> Any:
        for number, part in enumerate(self.layers):
            x = call_part(f"layers.{number}", part, x)
        return x

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(shown, self.layers))})"


@dataclass(frozen=True)
class Residual(Layer):
    """x + inner(x): the inner layer learns what to add to its input.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.
    """

    inner: Any

    def check(self) -> None:
        check_part("Residual", "inner", self.inner)

    def example(self) -> Any:
        return _example(self.inner)

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        change = call_part("inner", self.inner, x)
        if change.shape != x.shape:
            raise self.mismatch(
                f"its inner layer to give the shape of its input, {tuple(x.shape)}, got "
                f"{tuple(change.shape)}",
                change,
                f"make the last layer inside give {x.shape[-1]}"
                if change.shape[:-1] == x.shape[:-1]
                else "leave the number of axes as it is inside",
            )
        return x + change


def mlp(
    outputs: int,
    hidden: Sequence[int] = (64, 64),
    activation: Any = relu,
    *,
    weight_init: str | Initialiser = "glorot_uniform",
) -> Sequential:
    """A stack of dense layers: `mlp(10, hidden=(64, 32))` is 64, 32, then 10 outputs.

    `activation`, a function or a name, stands behind each hidden layer; none stands behind the
    last, whose outputs are logits or values. The input width comes from the first example.
    """
    function = activation_by_name(activation) if isinstance(activation, str) else activation
    parts: list[Any] = []
    for width in hidden:
        parts += [Dense(width, weight_init=weight_init), function]
    return Sequential(*parts, Dense(outputs, weight_init=weight_init))
