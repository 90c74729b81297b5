"""The public face of states that are carried from chunk to chunk, for recurrent layers."""

from __future__ import annotations

from typing import Any

from chainrule.errors import UsageError
from chainrule.nn.layer import Layer, as_array
from chainrule.nn.place import title
from chainrule.tracing.context import current
from chainrule.tracing.trees import leaves, map_leaves


def recall(layer: Layer, start: Any) -> Any:
    """The state that a recurrent layer begins with, in its `forward`: what it left with `remember`
    in the chunk before, or `start` (a tree of arrays [rows, ...]) where a sequence begins.

        def forward(self, x):
            state = cr.nn.recall(self, np.zeros((len(x), 8), x.dtype))
            state, outputs = cr.scan(self.step, state, np.swapaxes(x, 0, 1))
            cr.nn.remember(self, state)
            return np.swapaxes(outputs, 0, 1)

    States are carried in `cr.train` on data in streams and inside `cr.nn.carrying`; elsewhere
    `start` is returned. Raises UsageError where a layer is called twice in one step or inside a
    loop, ShapeError where the state that is carried is of another shape.
    """
    context = current()
    if context is None or context.memory is None:
        return start
    return context.memory.begin(context.path_of(layer), start, title(layer.label()))


def remember(layer: Layer, state: Any) -> None:
    """Leaves the last state of a recurrent layer for the next chunk, in its `forward`; see
    `recall`."""
    context = current()
    if context is not None and context.memory is not None:
        context.memory.after[context.path_of(layer)] = state


def carried(layer: Any, rows: int) -> Any:
    """The state from which one of the library's recurrent layers goes on, None where nothing is
    carried. Raises UsageError for a layer that reads from the end."""
    context = current()
    if context is None or context.memory is None:
        return None
    if layer.reverse or layer.bidirectional:
        raise UsageError(
            f"{layer.label()} reads from the end of a chunk, where no state has come yet",
            where=title(layer.label()),
            do="let it read forwards only, or train on rows that stand alone, without streams",
        )
    weight = (layer.parts[0] if layer.parts else layer).weight
    if weight is None:
        raise layer.not_filled()
    return recall(layer, layer.start(rows, weight.dtype))


def check_state(layer: Any, state: Any, x: Any) -> None:
    """Raises ShapeError where a recurrent layer is to read the rows of `x` from what is no state
    of it."""
    shapes = [
        [tuple(leaf.value.shape) for leaf in leaves(map_leaves(as_array, part))]
        for part in (layer.start(len(x)), state)
    ]
    if shapes[0] == shapes[1]:
        return
    wanted, found = (" and ".join(map(str, part)) or "none" for part in shapes)
    raise layer.mismatch(
        f"a state of the shape {wanted}, got {found}",
        x,
        f"begin with layer.start({len(x)}), or pass on what the layer returned",
    )
