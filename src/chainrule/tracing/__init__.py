"""Tracing: NumPy code -> Graph.

Receives: a Python function over NumPy arrays, and example arguments. Returns: a `Graph` whose
inputs carry names such as `layers.0.weight`, each node with the user's line. Next: `backward`,
`rewrite`, or a backend.
"""

from chainrule.tracing.capture import Capture, capture, is_tracing
from chainrule.tracing.context import Context, training
from chainrule.tracing.traced import Traced
from chainrule.tracing.trees import Leaf, leaves, map_leaves, replace_leaves, structure

__all__ = [
    "Capture",
    "Context",
    "Leaf",
    "Traced",
    "capture",
    "is_tracing",
    "leaves",
    "map_leaves",
    "replace_leaves",
    "structure",
    "training",
]
