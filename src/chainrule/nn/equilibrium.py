"""Equilibrium: a recurrent layer that is run until it rests."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.loops import fixed_point
from chainrule.nn import checks
from chainrule.nn.activations import activation as activation_by_name
from chainrule.nn.compose import check_part
from chainrule.nn.filling import Draw
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_float

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Equilibrium(Layer):
    """The state in which a recurrent network rests.

    z = activation(x @ weight + z @ recurrent + bias), inputs [..., inputs], outputs [..., outputs].
    `Equilibrium(8, 32)` takes 8 inputs; `Equilibrium(32)` learns their number from an example.
    `tolerance`, `max_iterations` and `strict` are those of `cr.fixed_point`: a network that does
    not come to rest is a ConvergenceError, or with `strict=False` gives its last state. `recurrent`
    starts as a map that halves distances, so that there is one state of rest. Gradients are
    implicit: recurrent backpropagation.

    Sources: Almeida 1987 and Pineda 1987 (see `cr.fixed_point`); Bai, Kolter and Koltun, "Deep
    equilibrium models", NeurIPS 2019.
    """

    numbers: ClassVar = ("inputs", "outputs", "tolerance", "max_iterations")
    inputs: int | None
    outputs: int | None = None  # left out, the first number is the outputs
    activation: Any = field(default=np.tanh, kw_only=True)
    tolerance: float = field(default=1e-5, kw_only=True)
    max_iterations: int = field(default=1000, kw_only=True)
    strict: bool = field(default=True, kw_only=True)
    weight_init: str | Initialiser = field(default="glorot_uniform", kw_only=True)
    recurrent_init: str | Initialiser = field(default="contraction", kw_only=True)
    weight: Array | None = field(default=None, kw_only=True)
    recurrent: Array | None = field(default=None, kw_only=True)
    bias: Array | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.outputs is None:
            object.__setattr__(self, "outputs", self.inputs)
            object.__setattr__(self, "inputs", None)
        if isinstance(self.activation, str):
            object.__setattr__(self, "activation", activation_by_name(self.activation))
        super().__post_init__()

    def check(self) -> None:
        name = "Equilibrium"
        if self.inputs is not None:
            checks.size(name, "inputs", self.inputs)
        checks.size(name, "outputs", self.outputs)
        checks.size(name, "max_iterations", self.max_iterations)
        checks.number(name, "tolerance", self.tolerance, 0, math.inf)
        check_part(name, "activation", self.activation)
        for setting in ("weight_init", "recurrent_init"):
            checks.initialiser(name, setting, getattr(self, setting))
        checks.shape(name, "weight", self.weight, self.inputs, self.outputs)
        checks.shape(name, "recurrent", self.recurrent, self.outputs, self.outputs)
        checks.shape(name, "bias", self.bias, self.outputs)

    def label(self) -> str:
        return f"Equilibrium {self.inputs or '?'} -> {self.outputs}"

    def example(self) -> Any:
        return None if self.inputs is None else np.zeros((2, self.inputs), np.float32)

    def fill(self, draw: Draw, *inputs: Any) -> Equilibrium:
        width = (
            int(self.weight.shape[0])
            if self.weight is not None
            else draw.width(self.inputs, inputs)
        )
        size = self.outputs or 0
        filled: Equilibrium = self.replace(
            inputs=width,
            weight=draw("weight", self.weight_init, (width, size)),
            recurrent=draw("recurrent", self.recurrent_init, (size, size)),
            bias=draw("bias", "zeros", (size,)),
        )
        return filled

    def forward(self, x: Any) -> Any:
        if self.weight is None or self.recurrent is None or self.bias is None:
            raise self.not_filled()
        x = as_float(x, self.weight.dtype)
        if x.ndim == 0 or x.shape[-1] != self.weight.shape[0]:
            got = f"got {x.shape[-1]}" if x.ndim else "got a single number"
            do = f"make the part before it give {self.weight.shape[0]}"
            raise self.mismatch(f"{self.weight.shape[0]} inputs on the last axis, {got}", x, do)
        driven = x @ self.weight + self.bias

        def step(z: Any, driven: Any) -> Any:
            return self.activation(driven + z @ self.recurrent)

        found = fixed_point(
            step,
            np.zeros_like(driven),
            driven,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            strict=self.strict,
        )
        return found.value
