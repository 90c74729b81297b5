"""Recurrent layers: Elman's network, LSTM and GRU, over sequences [rows, time, features].

The input's product with its weights is taken for all times at once; only what depends on the state
is in the loop, which is one `cr.scan`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import UsageError
from chainrule.loops import scan
from chainrule.nn import checks
from chainrule.nn.activations import activation as activation_by_name
from chainrule.nn.carrying import carried, check_state, remember
from chainrule.nn.compose import check_part
from chainrule.nn.filling import Draw
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_array, as_float
from chainrule.nn.layers import dropped
from chainrule.tracing import trees

Array = np.ndarray[Any, Any]


def gate(x: Any) -> Any:
    """1 / (1 + exp(-x)) from a tanh, which is all that its derivative needs."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


@dataclass(frozen=True)
class Recurrent(Layer):
    """What recurrent layers share: one direction of one layer, or several of them as `parts`."""

    numbers: ClassVar = ("inputs", "outputs", "layers", "dropout")
    gates: ClassVar[int] = 1
    inputs: int | None
    outputs: int | None = None  # left out, the first number is the outputs
    layers: int = field(default=1, kw_only=True)
    bidirectional: bool = field(default=False, kw_only=True)
    reverse: bool = field(default=False, kw_only=True)
    last: bool = field(default=False, kw_only=True)
    dropout: float = field(default=0.0, kw_only=True)
    checkpoint: bool | int = field(default=False, kw_only=True)
    truncate: int | None = field(default=None, kw_only=True)
    weight_init: str | Initialiser = field(default="glorot_uniform", kw_only=True)
    recurrent_init: str | Initialiser = field(default="orthogonal", kw_only=True)
    weight: Array | None = field(default=None, kw_only=True)
    recurrent: Array | None = field(default=None, kw_only=True)
    bias: Array | None = field(default=None, kw_only=True)
    parts: Any = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.outputs is None:
            object.__setattr__(self, "outputs", self.inputs)
            object.__setattr__(self, "inputs", None)
        super().__post_init__()
        if self._is_stack and self.parts is None:
            object.__setattr__(self, "parts", tuple(self._part(n) for n in range(self._count)))

    @property
    def _is_stack(self) -> bool:
        return self.layers > 1 or self.bidirectional

    @property
    def _count(self) -> int:
        return self.layers * (2 if self.bidirectional else 1)

    def _part(self, number: int) -> Any:
        """One direction of one layer; the directions of a layer stand side by side."""
        directions = 2 if self.bidirectional else 1
        inputs = self.inputs if number < directions else (self.outputs or 0) * directions
        settings = {
            "layers": 1,
            "bidirectional": False,
            "reverse": number % 2 == 1 if self.bidirectional else self.reverse,
            "last": False,
        }
        part: Any = trees.with_fields(self, {"inputs": inputs, **settings})
        return part

    def check(self) -> None:
        name = type(self).__name__
        if self.inputs is not None:
            checks.size(name, "inputs", self.inputs)
        checks.size(name, "outputs", self.outputs)
        checks.size(name, "layers", self.layers)
        checks.number(name, "dropout", self.dropout, 0, 1)
        if self.bidirectional and self.reverse:
            raise UsageError(
                f"{name}: bidirectional and reverse", do="a bidirectional layer runs both ways"
            )
        for setting in ("weight_init", "recurrent_init"):
            checks.initialiser(name, setting, getattr(self, setting))
        wide = self.gates * (self.outputs or 0)
        checks.shape(name, "weight", self.weight, self.inputs, wide)
        checks.shape(name, "recurrent", self.recurrent, self.outputs, wide)
        checks.shape(name, "bias", self.bias, wide)

    def label(self) -> str:
        text = f"{type(self).__name__} {self.inputs or '?'} -> {self.outputs}"
        if self.layers > 1:
            text += f", {self.layers} layers"
        words = ("bidirectional", "reverse", "last")
        return ", ".join([text, *(word for word in words if getattr(self, word))])

    def example(self) -> Any:
        return None if self.inputs is None else np.zeros((2, 2, self.inputs), np.float32)

    def fill(self, draw: Draw, *inputs: Any) -> Any:
        if self._is_stack:  # the parts have the weights
            known = self.inputs or self.parts[0].inputs
            return self.replace(inputs=draw.width(known, inputs[:1])) if known or inputs else self
        width = (
            int(self.weight.shape[0])
            if self.weight is not None
            else draw.width(self.inputs, inputs[:1])
        )
        size = self.outputs or 0
        arrays = {
            "weight": draw("weight", self.weight_init, (width, self.gates * size)),
            "recurrent": draw("recurrent", self.recurrent_init, (size, self.gates * size)),
            "bias": draw("bias", self._first_bias, (self.gates * size,)),
        }
        return self.replace(inputs=width, **arrays, **self._more_arrays(draw))

    def _first_bias(self, stream: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.zeros(shape, dtype)

    def _more_arrays(self, draw: Draw) -> dict[str, Any]:
        return {}

    def start(self, rows: int, dtype: Any = np.float32) -> Any:
        """The state before a sequence, all zeros: for each part, in a stack."""
        if self._is_stack:
            return tuple(part.start(rows, dtype) for part in self.parts)
        return np.zeros((rows, self.outputs or 0), dtype)

    # --- running ------------------------------------------------------------------------------

    def forward(self, x: Any, state: Any = None, mask: Any = None) -> Any:
        x = as_array(x)
        if x.ndim != 3:
            do = "give sequences [rows, time, features]; of one sequence, x[np.newaxis]"
            raise self.mismatch(f"[rows, time, features], got {x.ndim} axes", x, do)
        if mask is not None:
            mask = self._mask(x, as_array(mask))
        run = self._run_stack if self._is_stack else self._run_one
        outputs, after = run(x, carried(self, len(x)) if state is None else state, mask)
        if state is None:
            remember(self, after)
        result = self._newest(after) if self.last else outputs
        return result if state is None else (result, after)

    def _mask(self, x: Any, mask: Any) -> Any:
        if mask.dtype != np.bool_ or tuple(mask.shape) != tuple(x.shape[:2]):
            raise self.mismatch(
                f"a mask of booleans {list(x.shape[:2])}, got {mask.dtype} of shape "
                f"{tuple(mask.shape)}",
                mask,
                "make it as in np.arange(time) < lengths[:, np.newaxis]",
            )
        return mask

    def _newest(self, state: Any) -> Any:
        """The output after the last step of each direction of the last layer."""
        if not self._is_stack:
            return self._output(state)
        ends = state[-2:] if self.bidirectional else state[-1:]
        found = [part._output(s) for part, s in zip(self.parts[-len(ends) :], ends, strict=True)]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)

    def _output(self, state: Any) -> Any:
        return state

    def _run_stack(self, x: Any, state: Any, mask: Any) -> tuple[Any, Any]:
        states = [None] * self._count if state is None else state
        if len(states) != self._count:
            raise UsageError(
                f"{self.label()} got {len(states)} states for {self._count} parts",
                do="begin with layer.start(rows), and pass on what the layer returns",
            )
        directions = 2 if self.bidirectional else 1
        after: list[Any] = []
        for first in range(0, self._count, directions):
            outputs = []
            for part, before in zip(
                self.parts[first : first + directions],
                states[first : first + directions],
                strict=True,
            ):
                begin = part.start(x.shape[0], _dtype(x)) if before is None else before
                found, end = part(x, begin, mask)
                outputs.append(found)
                after.append(end)
            x = outputs[0] if directions == 1 else np.concatenate(outputs, axis=-1)
            if first + directions < self._count:
                x = dropped(x, self.dropout)
        return x, tuple(after)

    def _run_one(self, x: Any, state: Any, mask: Any) -> tuple[Any, Any]:
        if self.weight is None or self.recurrent is None or self.bias is None:
            raise self.not_filled()
        x = as_float(x, self.weight.dtype)
        if x.shape[-1] != self.weight.shape[0]:
            width = self.weight.shape[0]
            do = f"make the part before it give {width}, or change this layer's inputs"
            raise self.mismatch(f"{width} features on the last axis, got {x.shape[-1]}", x, do)
        if state is None:
            state = self.start(x.shape[0], self.weight.dtype)
        check_state(self, state, x)
        by_time = np.swapaxes(x, 0, 1) @ self.weight + self.bias
        seen = None if mask is None else np.swapaxes(mask, 0, 1)[..., np.newaxis]

        def step(state: Any, xs: Any) -> tuple[Any, Any]:
            driven, is_seen = xs
            after = self._step(driven, state)
            output = self._output(after)
            if is_seen is None:
                return after, output
            # Behind the end of a sequence its state stays, and its output is zero.
            kept = [
                np.where(is_seen, new.value, old.value)
                for new, old in zip(trees.leaves(after), trees.leaves(state), strict=True)
            ]
            return trees.replace_leaves(after, kept), np.where(is_seen, output, 0)

        after, outputs = scan(
            step,
            state,
            (by_time, seen),
            reverse=self.reverse,
            checkpoint=self.checkpoint,
            truncate=self.truncate,
        )
        return np.swapaxes(outputs, 0, 1), after

    def _step(self, driven: Any, state: Any) -> Any:
        """The next state; `driven` is what the input gives, of each gate."""
        raise NotImplementedError


def _dtype(x: Any) -> Any:
    return x.dtype if x.dtype.kind == "f" else np.float32


@dataclass(frozen=True)
class RNN(Recurrent):
    """Elman's network: each state is an activation of the input and of the state before.

    h = activation(x @ weight + h @ recurrent + bias), with inputs [rows, time, inputs] and outputs
    [rows, time, outputs], or with `last` the last state [rows, outputs]. `RNN(64, 128)` takes 64
    features; `RNN(128)` learns their number from an example.

    `layers` stacks so many, with `dropout` between them; `bidirectional` runs a second one from the
    end, and outputs both, `reverse` only from the end. Called as `layer(x, state)` it begins from a
    state (`layer.start(rows)`, or what the last call returned) and returns (outputs, state).
    `layer(x, None, mask)` is for sequences of unequal length: booleans [rows, time], false behind
    the end, where the state stays and outputs are zero. `checkpoint` and `truncate` are those of
    `cr.scan`. Weights start as `weight_init` and `recurrent_init` say. Raises ShapeError for inputs
    of another shape.

    Source: Elman, "Finding structure in time", 1990.
    """

    activation: Any = field(default=np.tanh, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.activation, str):
            object.__setattr__(self, "activation", activation_by_name(self.activation))
        super().__post_init__()

    def check(self) -> None:
        super().check()
        check_part("RNN", "activation", self.activation)

    def _step(self, driven: Any, state: Any) -> Any:
        return self.activation(driven + state @ self.recurrent)


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory: a cell that gates what enters, stays and leaves.

    Settings, inputs and outputs as for `RNN`; the state is (output, cell). The gates stand in the
    order input, forget, candidate, output in `weight` [inputs, 4 outputs], `recurrent` [outputs,
    4 outputs] and `bias`, which starts at 1 for the forget gate (Gers, Schmidhuber and Cummins
    2000; Jozefowicz, Zaremba and Sutskever 2015) and at 0 for the others.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """

    gates: ClassVar = 4

    def _first_bias(self, stream: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        bias = np.zeros(shape, dtype)
        size = shape[0] // 4
        bias[size : 2 * size] = 1
        return bias

    def start(self, rows: int, dtype: Any = np.float32) -> Any:
        """The state before a sequence, (output, cell) of zeros: for each part, in a stack."""
        zeros = super().start(rows, dtype)
        return zeros if self._is_stack else (zeros, zeros)

    def _output(self, state: Any) -> Any:
        return state[0]

    def _step(self, driven: Any, state: Any) -> Any:
        h, cell = state
        enter, keep, candidate, leave = np.split(driven + h @ self.recurrent, 4, axis=-1)
        cell = gate(keep) * cell + gate(enter) * np.tanh(candidate)
        return gate(leave) * np.tanh(cell), cell


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent unit: one gate mixes the old state with a candidate, another says how much of
    the old state the candidate sees.

    Settings, inputs and outputs as for `RNN`. The gates stand in the order reset, update, candidate
    in `weight` [inputs, 3 outputs], `recurrent` [outputs, 3 outputs] and `bias`. The reset gate
    takes the state's product, to which `candidate_bias` [outputs] was added, so that one product
    gives all gates (Appleyard, Kocisky and Blunsom 2016).

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    """

    gates: ClassVar = 3
    candidate_bias: Array | None = field(default=None, kw_only=True)

    def check(self) -> None:
        super().check()
        checks.shape("GRU", "candidate_bias", self.candidate_bias, self.outputs)

    def _more_arrays(self, draw: Draw) -> dict[str, Any]:
        return {"candidate_bias": draw("candidate_bias", "zeros", (self.outputs or 0,))}

    def _step(self, driven: Any, state: Any) -> Any:
        of_input = np.split(driven, 3, axis=-1)
        of_state = np.split(state @ self.recurrent, 3, axis=-1)
        reset, update = (gate(a + b) for a, b in zip(of_input[:2], of_state[:2], strict=True))
        candidate = np.tanh(of_input[2] + reset * (of_state[2] + self.candidate_bias))
        return candidate + update * (state - candidate)
