"""What a row looks like, in JSON values: a picture's pixels, a spectrogram, a text."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from chainrule.data.dataset import JSON, Dataset

_LARGEST = 96  # pixels on a side; larger pictures are thinned out
_LONGEST = 400  # characters


def depicted(dataset: Dataset, row: int) -> dict[str, JSON]:
    """How a row is to be shown: {"image": {"shape": [height, width, channels], "pixels": bytes in
    base64}}, with "sound": true where it is a spectrogram, low tones below; {"text": ...}; or
    nothing, where a row is no more than its numbers."""
    kind, shape = dataset.source.get("kind"), dataset.source.get("image_shape")
    if isinstance(shape, list):
        sizes = [int(size) for size in shape if isinstance(size, int)]
        pixels = np.reshape(dataset.x[row], sizes)
        return {"image": _image(pixels if pixels.ndim == 3 else pixels[..., None])}
    if kind == "sounds":
        loudness = dataset.x[row].T[::-1]
        low, high = float(loudness.min()), float(loudness.max())
        return {"image": _image((loudness - low)[..., None] / ((high - low) or 1)), "sound": True}
    if "text" in dataset.source and len(dataset.row_names):
        return {"text": dataset.row_names[row][:_LONGEST]}
    return {}


def _image(pixels: NDArray[np.floating]) -> dict[str, JSON]:
    """Shares of 1, [height, width, channels], as bytes."""
    every = [-(-size // _LARGEST) for size in pixels.shape[:2]]
    small = pixels[:: every[0], :: every[1]]
    whole = np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)
    shape: list[JSON] = [int(size) for size in whole.shape]
    return {"shape": shape, "pixels": base64.b64encode(whole.tobytes()).decode()}
