"""From tables, arrays and built-in sets to rows that a network can learn from.

Receives: a CSV, Parquet or JSON-lines file, a DataFrame, a pair of arrays (X, y), or the name of a
built-in set. Returns: a `Dataset` (float32 inputs; class indices or float32 targets), the training
rows and the held-out rows, and for tables a `TableEncoder` that treats other tables alike and turns
outputs back into columns. Next: `training`, which saves the encoder with the model.
"""

from __future__ import annotations

from chainrule.data.builtin import BUILTIN, known_sets, load
from chainrule.data.dataset import Dataset, fingerprint, from_arrays
from chainrule.data.encode import Schema, TableEncoder, fit, from_table, infer_schema
from chainrule.data.idx import read_idx
from chainrule.data.named import NAMED, download
from chainrule.data.shuffle import permutation, random_words
from chainrule.data.split import TASKS, split
from chainrule.data.tables import Table, as_table, read_table

__all__ = [
    "BUILTIN",
    "NAMED",
    "TASKS",
    "Dataset",
    "Schema",
    "Table",
    "TableEncoder",
    "as_table",
    "download",
    "fingerprint",
    "fit",
    "from_arrays",
    "from_table",
    "infer_schema",
    "known_sets",
    "load",
    "permutation",
    "random_words",
    "read_idx",
    "read_table",
    "split",
]
