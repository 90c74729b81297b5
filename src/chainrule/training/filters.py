"""What the first layer of a network of pictures looks for: its weights, drawn as pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.data import Dataset
from chainrule.tracing import trees

MOST = 32
_ZERO = 128  # the byte that stands for a weight of 0


def first_filters(net: Any, dataset: Dataset) -> tuple[Mapping[str, Any], ...]:
    """The filters of the first layer, those with the largest weights first, as bytes around 128 in
    base64: {"unit": its number, "shape": [height, width, channels], "pixels": ...}.

    A filter is what a convolution [height, width, channels, units] moves over the picture, or all
    the weights of a unit that sees all of it. Nothing for data that are no pictures, or where the
    first layer is none of these. Each picture has a scale of its own.
    """
    size = dataset.source.get("image_shape")
    first = next((leaf.value for leaf in trees.leaves(net) if leaf.trained), None)
    if not isinstance(size, list) or first is None:
        return ()
    height, width, channels = (*(int(str(n)) for n in size), 1)[:3]
    weights = np.asarray(first, np.float64)
    if weights.ndim == 2 and len(weights) == height * width * channels:
        filters = weights.T.reshape((-1, height, width, channels))
    elif weights.ndim == 4 and weights.shape[2] == channels and min(weights.shape[:2]) > 1:
        filters = np.moveaxis(weights, 3, 0)
    else:
        return ()
    if channels not in (1, 3) or not np.isfinite(filters).all():
        return ()
    largest = np.abs(filters).max(axis=(1, 2, 3))
    order = np.argsort(-np.sqrt((filters**2).sum(axis=(1, 2, 3))), kind="stable")
    chosen = [int(unit) for unit in order if largest[unit] > 0][:MOST]
    return tuple(
        {
            "unit": unit,
            "shape": [int(n) for n in filters.shape[1:]],
            "pixels": _bytes(filters[unit] / largest[unit]),
        }
        for unit in chosen
    )


def _bytes(shares: np.ndarray) -> str:
    """Numbers from -1 to 1 as bytes around 128."""
    whole = np.rint(shares * (_ZERO - 1) + _ZERO).astype(np.uint8)
    return base64.b64encode(whole.tobytes()).decode()
