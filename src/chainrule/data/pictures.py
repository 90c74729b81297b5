"""One picture file as pixels, with Pillow, which is imported only here and only when asked for.

What a file may hold, and what becomes of it: grey and black-and-white pictures have one channel,
colour ones three (red, green, blue); palettes and other colour spaces are converted to that;
16 bits are rounded down to 8; what is transparent is laid over white; a photograph is turned as
its EXIF tag says; of several frames the first is taken.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError, UsageError

SUFFIXES = frozenset(".png .jpg .jpeg .gif .bmp .webp .tif .tiff .ppm .pgm .pbm".split())

_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_REFUSALS = (OSError, SyntaxError, ValueError, EOFError, MemoryError)  # what Pillow raises
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """Pixels uint8 [height, width, channels], and what was done to get them."""

    pixels: NDArray[np.uint8]
    done: tuple[str, ...]  # of "alpha over white", "turned", "16 to 8 bits", "first frame"


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Picture:
    """A picture as grey or colour pixels, as it is (see above).

    With `size` (height, width) it is scaled until it covers that and its centre is cut out. Raises
    DataError, which names the file, where it cannot be read; UsageError without Pillow.
    """
    image_room = _pillow()
    errors = (image_room.DecompressionBombError, image_room.DecompressionBombWarning)
    refusals: tuple[type[Exception], ...] = (*errors, *_REFUSALS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_room.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # on odd metadata; pixels are read or not
            with image_room.open(path) as image:
                return _read(image, size)
    except refusals as error:
        why = str(error).replace(repr(str(path)), "it").replace(str(path), "it")
        if isinstance(error, image_room.UnidentifiedImageError):
            why = "it is no picture, or of a format that Pillow does not know"
        raise DataError(
            f"the picture {path} cannot be read: {why or type(error).__name__}",
            do="mend or remove it, or leave out what cannot be read (--skip-unreadable; in Python: "
            'unreadable="skip")',
        ) from None


def _read(image: Any, size: tuple[int, int] | None) -> Picture:
    from PIL import Image, ImageOps

    done: list[str] = []
    if getattr(image, "n_frames", 1) > 1:
        done.append("first frame")
    turned = image.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    image.load()
    if turned:
        image = ImageOps.exif_transpose(image)
        done.append("turned")
    if image.mode in _DEEP:
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
        done.append("16 to 8 bits")
    elif image.mode == "F":
        raise ValueError("its pixels are fractional numbers")
    grey = image.mode in _GREY
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
        done.append("alpha over white")
    image = image.convert("L" if grey else "RGB")
    if size is not None and (image.height, image.width) != size:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return Picture(pixels[..., None] if grey else pixels, tuple(done))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(
            "pictures are read with Pillow, which is not installed",
            do="pip install 'chainrule[images]'",
        ) from None
    return Image
