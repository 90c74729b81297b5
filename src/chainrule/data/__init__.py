"""From tables, arrays and built-in sets to rows that a network can learn from.

Receives: a CSV, Parquet or JSON-lines file, a DataFrame, a pair of arrays (X, y), a folder of
pictures, or the name of a set. Returns: a `Dataset` (inputs; class indices or float32 targets), the
training rows and the held-out rows, and for what came from files an `Encoder` that reads further
files alike and turns outputs back into columns. Next: `training`, which saves the encoder with the
model.
"""

from __future__ import annotations

from chainrule.data.builtin import BUILTIN, known_sets, load
from chainrule.data.chunking import Streams, chunks, streams
from chainrule.data.corpus import CorpusEncoder, TextCorpus
from chainrule.data.dataset import Dataset, fingerprint, from_arrays
from chainrule.data.depict import depicted
from chainrule.data.encode import Schema, TableEncoder, fit, from_table, infer_schema
from chainrule.data.idx import read_idx
from chainrule.data.images import ImageEncoder, ImageFolder, image_encoder
from chainrule.data.kinds import encoder_from_json, kind_at, source_at, source_from_json
from chainrule.data.known_series import SERIES, KnownSeries
from chainrule.data.linear_forecast import autoregression, persistence
from chainrule.data.log_mel import LogMel
from chainrule.data.named import NAMED, download
from chainrule.data.on_disk import open_rows, write_rows
from chainrule.data.series import Forecast, ForecastEncoder
from chainrule.data.shuffle import permutation, random_words
from chainrule.data.sounds import SoundEncoder, SoundFolder
from chainrule.data.source import DEFAULT_VALIDATION, Encoder, Parts, Rows, Source, divided
from chainrule.data.split import TASKS, split
from chainrule.data.table_pieces import table_pieces
from chainrule.data.tables import Table, as_table, read_table
from chainrule.data.text_table import SequenceEncoder, TextTable
from chainrule.data.vocabulary import Vocabulary, fit_vocabulary

__all__ = [
    "BUILTIN",
    "DEFAULT_VALIDATION",
    "NAMED",
    "SERIES",
    "TASKS",
    "CorpusEncoder",
    "Dataset",
    "Encoder",
    "Forecast",
    "ForecastEncoder",
    "ImageEncoder",
    "ImageFolder",
    "KnownSeries",
    "LogMel",
    "Parts",
    "Rows",
    "Schema",
    "SequenceEncoder",
    "SoundEncoder",
    "SoundFolder",
    "Source",
    "Streams",
    "Table",
    "TableEncoder",
    "TextCorpus",
    "TextTable",
    "Vocabulary",
    "as_table",
    "autoregression",
    "chunks",
    "depicted",
    "divided",
    "download",
    "encoder_from_json",
    "fingerprint",
    "fit",
    "fit_vocabulary",
    "from_arrays",
    "from_table",
    "image_encoder",
    "infer_schema",
    "kind_at",
    "known_sets",
    "load",
    "open_rows",
    "permutation",
    "persistence",
    "random_words",
    "read_idx",
    "read_table",
    "source_at",
    "source_from_json",
    "split",
    "streams",
    "table_pieces",
    "write_rows",
]
