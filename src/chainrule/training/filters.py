"""What the first layer of a network of pictures or sounds looks for: its weights, as pictures."""

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
    base64: {"unit": its number, "shape": [height, width, channels], "pixels": ...}, with "sound":
    true where it is a piece of a spectrogram, low tones below.

    A filter is what a convolution [height, width, channels, units], or of sounds [time, bands,
    units], moves over its input, or all the weights of a unit that sees all of it. Nothing for
    other data, or where the first layer is none of these. Each picture has a scale of its own.
    """
    first = next((leaf.value for leaf in trees.leaves(net) if leaf.trained), None)
    if first is None:
        return ()
    weights = np.asarray(first, np.float64)
    is_sound = dataset.source.get("kind") == "sounds"
    filters = _of_sounds(weights, dataset) if is_sound else _of_pictures(weights, dataset)
    if filters is None or not np.isfinite(filters).all():
        return ()
    largest = np.abs(filters).max(axis=(1, 2, 3))
    order = np.argsort(-np.sqrt((filters**2).sum(axis=(1, 2, 3))), kind="stable")
    chosen = [int(unit) for unit in order if largest[unit] > 0][:MOST]
    return tuple(
        {
            "unit": unit,
            "shape": [int(n) for n in filters.shape[1:]],
            "pixels": _bytes(filters[unit] / largest[unit]),
            **({"sound": True} if is_sound else {}),
        }
        for unit in chosen
    )


def _of_pictures(weights: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """The filters [units, height, width, channels] of data that are pictures."""
    size = dataset.source.get("image_shape")
    if not isinstance(size, list):
        return None
    height, width, channels = (*(int(str(n)) for n in size), 1)[:3]
    if channels not in (1, 3):
        return None
    if weights.ndim == 2 and len(weights) == height * width * channels:
        return weights.T.reshape((-1, height, width, channels))
    if weights.ndim == 4 and weights.shape[2] == channels and min(weights.shape[:2]) > 1:
        return np.moveaxis(weights, 3, 0)
    return None


def _of_sounds(weights: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """The filters [units, bands, time, 1] of a convolution over the frames of sounds."""
    if weights.ndim != 3 or weights.shape[1] != dataset.x.shape[2]:
        return None
    return weights.transpose(2, 1, 0)[:, ::-1, :, None]


def _bytes(shares: np.ndarray) -> str:
    """Numbers from -1 to 1 as bytes around 128."""
    whole = np.rint(shares * (_ZERO - 1) + _ZERO).astype(np.uint8)
    return base64.b64encode(whole.tobytes()).decode()
