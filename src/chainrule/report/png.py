"""Pixels as a PNG file in a data address, with nothing but zlib.

Source: W3C, "Portable network graphics (PNG) specification", 2003.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

_GREY, _COLOUR = 0, 2  # PNG's types of pixels


def png_address(pixels: str, shape: tuple[int, int, int]) -> str:
    """The address `data:image/png;base64,...` of a picture of bytes, given in base64, of shape
    (height, width, channels) with 1 or 3 channels. Raises ValueError where they do not fit."""
    height, width, channels = shape
    if height < 1 or width < 1 or channels not in (1, 3):
        raise ValueError(f"no picture has the shape {shape}")
    raw = base64.b64decode(pixels, validate=True)  # its own error is a ValueError
    if len(raw) != height * width * channels:
        raise ValueError(f"{len(raw)} bytes are no picture of shape {shape}")
    line = width * channels
    # Each line begins with its filter: none.
    lines = b"".join(b"\0" + raw[first : first + line] for first in range(0, len(raw), line))
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY if channels == 1 else _COLOUR, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", binascii.crc32(body))
