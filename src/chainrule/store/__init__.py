"""Files that are either complete or absent, and that say so when they are damaged.

Receives: named arrays and a JSON description. Returns: one safetensors file, written whole or not
at all, and the same arrays back, bit for bit, or an error that names what is damaged. Next: the
training loop (checkpoints) and the saved models that people load.
"""

from __future__ import annotations

from chainrule.store.atomic import make_directory, sweep, write_atomic
from chainrule.store.checkpoints import Checkpoint, CheckpointFolder
from chainrule.store.tensors import Contents, TensorType, inspect, load_tensors, save_tensors

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "Contents",
    "TensorType",
    "inspect",
    "load_tensors",
    "make_directory",
    "save_tensors",
    "sweep",
    "write_atomic",
]
