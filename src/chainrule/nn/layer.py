"""The base of all layers: a frozen dataclass whose arrays are weights, called like a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError, UsageError
from chainrule.nn.filling import Draw, Filling
from chainrule.nn.place import Newest, run_at, shown, source, title
from chainrule.tracing.context import Context, current, use
from chainrule.tracing.trees import is_array, with_fields


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A part of a net: write your own as a frozen dataclass with a `forward`.

        @dataclass(frozen=True)
        class Scale(cr.nn.Layer):
            width: int
            gain: np.ndarray | None = None

            def fill(self, draw, *inputs):
                return self.replace(gain=draw("gain", "ones", (self.width,)))

            def forward(self, x):
                return x * self.gain

    Arrays in fields are weights (`state()` fields: arrays that change without gradients); numbers,
    strings and functions are settings. A layer that contains others only calls them, and needs no
    `fill`. `forward` is plain NumPy. Layers are equal only when they are the same object.
    """

    # Settings that may come as NumPy scalars, which would else be taken for weights.
    numbers: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # @dataclass leaves alone what the class itself has: its own == would compare arrays, which
        # have no single truth, and its own repr would print them.
        for name in ("__eq__", "__hash__", "__repr__"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if "__dataclass_fields__" not in vars(cls):
            raise UsageError(
                f"the layer class {cls.__name__} is not a dataclass: its arrays would not be found",
                do=f"write @dataclass(frozen=True) above class {cls.__name__}",
            )
        for field in dataclasses.fields(cls):
            if hasattr(Layer, field.name):
                raise UsageError(
                    f"the layer class {cls.__name__} has a field {field.name!r}, which every "
                    "layer has as a method",
                    do="give the field another name",
                )
        return object.__new__(cls)

    def forward(self, *inputs: Any) -> Any:
        """The layer's output; each layer writes its own, and is called as `layer(x)`."""
        raise UsageError(
            f"the layer class {type(self).__name__} has no forward",
            do="define forward(self, x), which returns the output",
        )

    def fill(self, draw: Draw, *inputs: Any) -> Any:
        """This layer with the arrays that it lacks, each made by `draw(name, initialiser, shape)`.

        `inputs` are those of a first call, or empty where there is no example.
        """
        return self

    def example(self) -> Any:
        """An input that the layer could be called with, or None where it cannot say."""
        return None

    def check(self) -> None:
        """Raises UsageError or ShapeError where settings and arrays do not make a layer; called
        when the layer is made, also from a file."""

    def label(self) -> str:
        """The layer in a few words, for errors and tables."""
        return type(self).__name__

    def __post_init__(self) -> None:
        for name in self.numbers:
            value = getattr(self, name)
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())
        self.check()

    def __call__(self, *inputs: Any) -> Any:
        """Runs `forward` at this layer's place in the net."""
        context = current()
        if context is None:
            with use(Context(outputs=Newest())) as context:
                return self._run(context, inputs)
        return self._run(context, inputs)

    def _run(self, context: Context, inputs: tuple[Any, ...]) -> Any:
        if id(self) not in context.paths:
            context.name(self, context.scope)
        path = context.path_of(self)
        forward = self._fill_and_run if isinstance(context, Filling) else self.forward
        return run_at(path, self.label(), forward, inputs)

    def _fill_and_run(self, *inputs: Any) -> Any:
        context = current()
        assert isinstance(context, Filling)
        return context.fill(self, context.scope, inputs).forward(*inputs)

    def replace(self, **fields: Any) -> Any:
        """A copy with some fields replaced, as in `dense.replace(weight=w)`.

        Raises UsageError for a field that the layer does not have, or values that do not fit.
        """
        known = [f.name for f in dataclasses.fields(self)]
        for name in fields:
            if name not in known:
                raise UsageError(
                    f"{type(self).__name__} has no field {name!r}",
                    do=f"its fields are: {', '.join(known)}",
                )
        copy = with_fields(self, fields)
        copy.check()
        return copy

    def __repr__(self) -> str:
        """As it is written in code; arrays of keyword fields are left out, others only by shape.
        Parts that the layer makes of its settings (`repr=False`) are left out too."""
        parts = []
        for field in (f for f in dataclasses.fields(self) if f.repr):
            value = getattr(self, field.name)
            if not field.kw_only and value is not None:
                parts.append(shown(value))
            elif field.kw_only and not is_array(value) and value != field.default:
                parts.append(f"{field.name}={shown(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def make_parts(self, **parts: Callable[[], Layer]) -> None:
        """Makes the layers inside this one that are not given; for a `__post_init__`."""
        for name, make in parts.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, make())

    # --- what layers say when they cannot run -------------------------------------------------

    def not_filled(self) -> UsageError:
        """The error for a layer that is called before it has weights."""
        return UsageError(
            f"{title(self.label())} has no weights yet",
            do="net = cr.nn.init(net, x, seed=0) makes them; cr.train does so by itself",
        )

    def mismatch(self, expects: str, x: Any, do: str) -> ShapeError:
        """The error for an input of the wrong shape: who expects what, what came, from where."""
        return ShapeError(f"{title(self.label())} expects {expects}", where=source(x), do=do)


def as_array(x: Any) -> Any:
    """An input as an array; lists and numbers become NumPy's."""
    return x if is_array(x) else np.asarray(x)


def as_float(x: Any, dtype: Any) -> Any:
    """An input as an array of floats: integers and booleans take the dtype of the weights."""
    array = as_array(x)
    return array if array.dtype.kind == "f" else array.astype(dtype)
