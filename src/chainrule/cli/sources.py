"""What the words of a command say about where the data are and how to read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import say
from chainrule.data import NAMED, ImageFolder, download, folder_kind, known_sets
from chainrule.errors import UsageError


def data_of(arguments: Arguments) -> Any:
    """What `prepare` is given: a source where options say how to read it, else the word itself.

    Downloads a public set first where that is asked for. Raises UsageError for options that do not
    go with the data.
    """
    data: str = arguments.data
    if arguments.download:
        _download(data)
    is_folder = data not in known_sets() and Path(data).is_dir()
    _only_for(arguments, is_folder, "a folder of pictures", "image_size", "skip_unreadable")
    if is_folder:
        folder_kind(data)
        size = None if arguments.image_size is None else _size(arguments.image_size)
        return ImageFolder(data, size, "skip" if arguments.skip_unreadable else "fatal")
    return data


def _download(name: str) -> None:
    if name not in NAMED:
        raise UsageError(
            f"{name} is no public set that could be downloaded",
            where="--download",
            do=f"leave it out, or name one of: {', '.join(NAMED)}",
        )
    download(name, say)


def _only_for(arguments: Arguments, holds: bool, what: str, *options: str) -> None:
    for option in options:
        if not holds and getattr(arguments, option):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(
                f"{name} goes with {what}, and {arguments.data} is none", do=f"leave {name} out"
            )


def _size(text: str) -> tuple[int, int]:
    """(height, width) from 64 or 64x48, width first as people say it."""
    found = re.fullmatch(r"(\d{1,5})(?:[xX×](\d{1,5}))?", text)
    width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(width, height) < 1:
        raise UsageError(
            f"{text!r} is no size of a picture",
            where="--image-size",
            do="give one number for a square, such as 64, or width and height, such as 64x48",
        )
    return height, width
