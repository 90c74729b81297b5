"""What of NumPy can be traced: importing this package fills the tables of `tracing/traced.py`."""

from chainrule.tracing.functions import (
    assignment,
    creating,
    elementwise,
    indexing,
    joining,
    linear,
    reductions,
    shaping,
)

__all__ = [
    "assignment",
    "creating",
    "elementwise",
    "indexing",
    "joining",
    "linear",
    "reductions",
    "shaping",
]
