"""Tokens as rows for language models: chunks that stand alone, or streams that carry on.

In both, `y` is `x` one token later. A network without a memory, or one whose memory begins anew
with each row, learns from chunks in any order. For truncated backpropagation through time (Williams
and Peng 1990) rows lie as streams: with s streams, row k s + i goes on where row (k - 1) s + i
ended, so a batch of s consecutive rows is one chunk of every stream, and the state of a network is
carried from batch to batch, except where `resets` says that a row begins a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError

Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Streams:
    """Rows of streams, chunk after chunk.

    `x` and `y` are int32 [chunks * streams, context]. `mask` is bool of the same shape, False
    behind the end of a document, or None where there is no such place. `resets` is bool [rows],
    True where a row begins a document.
    """

    x: Ids
    y: Ids
    mask: NDArray[np.bool_] | None
    resets: NDArray[np.bool_]


def chunks(tokens: Ids, context: int) -> tuple[Ids, Ids]:
    """The rows x and y, [rows, context] each, of `context` tokens after one another, without a
    copy; up to `context` tokens at the end are left over. Raises DataError where not even one row
    comes of it."""
    rows = (len(tokens) - 1) // context
    if rows < 1:
        raise DataError(
            f"{len(tokens)} tokens are fewer than a row of {context} and the one after it",
            do="give more text, or a shorter context",
        )
    end = rows * context
    return tokens[:end].reshape(rows, context), tokens[1 : end + 1].reshape(rows, context)


def streams(documents: Sequence[Ids], count: int, context: int) -> Streams:
    """The rows of `count` streams over some documents, int32 tokens each.

    One document is cut into `count` equal parts that are read side by side. Of several each begins
    a row, they follow one another, and what that makes is cut likewise: a document in which a
    stream ends is gone on with by the next one, which begins anew there. Raises DataError where
    there is too little text.
    """
    if len(documents) == 1:
        part = (len(documents[0]) - 1) // (count * context) * context
        if part < 1:
            raise DataError(
                f"{len(documents[0])} tokens are too few for {count} streams of rows of {context}",
                do="give more text, fewer streams or a shorter context",
            )
        x = documents[0][: count * part].reshape(count, -1, context)
        y = documents[0][1 : count * part + 1].reshape(count, -1, context)
        resets = np.zeros((part // context, count), np.bool_)
        resets[0] = True
        return Streams(_by_chunk(x), _by_chunk(y), None, resets.reshape(-1))
    return _joined(documents, count, context)


def _by_chunk(rows: NDArray[Any]) -> NDArray[Any]:
    """[streams, chunks, context] as [chunks * streams, context]."""
    return np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, rows.shape[2])


def _joined(documents: Sequence[Ids], count: int, context: int) -> Streams:
    """The rows of all documents after one another, and of that `count` equal parts."""
    found = [document for document in documents if len(document) > 1]
    sizes = [-(-(len(document) - 1) // context) for document in found]
    if sum(sizes) < count:
        raise DataError(
            f"{len(documents)} documents fill {sum(sizes)} of {count} streams",
            do="give more documents, or fewer streams",
        )
    part = -(-sum(sizes) // count)
    shape = (count * part, context)
    x, y, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    resets = np.zeros(len(x), np.bool_)
    row = 0
    for document, size in zip(found, sizes, strict=True):
        for target, tokens in ((x, document[:-1]), (y, document[1:])):
            target[row : row + size].reshape(-1)[: len(tokens)] = tokens
        mask[row : row + size].reshape(-1)[: len(document) - 1] = True
        resets[row] = True
        row += size
    resets[row:] = True  # nothing follows; what was before does not matter there
    resets[::part] = True
    lying = (array.reshape(count, part, -1) for array in (x, y, mask, resets))
    x, y, mask, resets = (_by_chunk(array) for array in lying)
    return Streams(x, y, mask, resets.reshape(-1))
