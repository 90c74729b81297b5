"""What the words of a command say about where the data are and how to read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainrule.cli.architectures import FITTING, RECURRENT, check_fits, check_name
from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import say
from chainrule.data import (
    NAMED,
    Forecast,
    ImageFolder,
    SoundFolder,
    Source,
    TextCorpus,
    TextTable,
    download,
    kind_at,
    known_sets,
)
from chainrule.data.corpus import MOST_WORDS, cut, text_files
from chainrule.data.vocabulary import read_text
from chainrule.errors import UsageError


def data_of(arguments: Arguments) -> Any:
    """What `prepare` is given: a source where options say how to read it, else the word itself.

    Downloads a public set first where that is asked for. Raises UsageError for options that do not
    go with the data.
    """
    data: str = arguments.data
    if arguments.download:
        _download(data)
    kind = "set" if data in known_sets() else kind_at(data)
    if kind == "table" and arguments.forecast:
        kind = "forecast"
    elif kind == "table" and arguments.text:
        kind = "text table"
    check_name(arguments.net)
    if arguments.net is not None and kind in _FORMS:
        check_fits(arguments.net, _FORMS[kind])
    for option, kinds in _GOES_WITH.items():
        if kind not in kinds and getattr(arguments, option):
            words = f"--{option.replace('_', '-')}"
            raise UsageError(
                f"{words} goes with {' or '.join(_WORDS[k] for k in kinds)}, and {data} is "
                f"{_WORDS[kind]}",
                do=f"leave {words} out",
            )
    make = _MAKE.get(kind)
    return data if make is None else make(arguments)


def _images(arguments: Arguments) -> Source:
    size = None if arguments.image_size is None else _size(arguments.image_size)
    return ImageFolder(arguments.data, size, "skip" if arguments.skip_unreadable else "fatal")


def _sounds(arguments: Arguments) -> Source:
    unreadable = "skip" if arguments.skip_unreadable else "fatal"
    return SoundFolder(arguments.data, seconds=arguments.seconds, unreadable=unreadable)


def _text(arguments: Arguments) -> Source:
    if arguments.vocabulary and not arguments.words:
        raise UsageError(
            "every character of a text is known, and --vocabulary says how many words are",
            where=f"--vocabulary {arguments.vocabulary}",
            do="leave it out, or give --words",
        )
    level, most = "word" if arguments.words else "character", _or(arguments.vocabulary, MOST_WORDS)
    context = _or(arguments.context, 64)
    is_recurrent = (arguments.net or FITTING["text"][0]) in RECURRENT
    streams = _streams(arguments, context) if is_recurrent else 0
    return TextCorpus(arguments.data, level, context, streams, most=most)


def _streams(arguments: Arguments, context: int) -> int:
    """How many streams a recurrent network reads side by side, its state carried from chunk to
    chunk: as many as a step has rows, where each has a few chunks of training and held-out text;
    else 0, and every row stands alone."""
    wanted = _or(arguments.batch_size, _STREAMS)
    if not isinstance(wanted, int):
        return 0
    texts = [read_text(file) for file in text_files(Path(arguments.data))]
    rows = []
    for part in cut(texts, arguments.validation):
        sizes = [(len(text.split()) if arguments.words else len(text)) - 1 for text in part]
        whole = [-(-size // context) for size in sizes if size > 0]  # each text begins a row
        rows += [sizes[0] // context if len(part) == 1 else sum(whole)] if part else []
    most = min(rows) // _CHUNKS if rows else 0
    if arguments.batch_size is not None:
        return wanted if wanted <= most else 0
    return min(wanted, most) if most > 1 else 0


def _forecast(arguments: Arguments) -> Source:
    horizon = _or(arguments.horizon, 1)
    return Forecast(arguments.data, arguments.forecast, horizon, arguments.window)


def _text_table(arguments: Arguments) -> Source:
    if arguments.target is None:
        raise UsageError(
            "training on a table needs the name of the column to predict",
            do="give it with --target COLUMN",
        )
    columns = tuple(arguments.text.split(","))
    is_sequence = bool(arguments.context) or arguments.net not in (None, "dense")
    if is_sequence and len(columns) > 1:
        option = f"--net {arguments.net}" if arguments.net else "--context"
        raise UsageError(
            f"{option} reads one column of texts, and these are {len(columns)}",
            where=f"--text {arguments.text}",
            do="name one column, or leave out what asks for the order of words",
        )
    form = "sequence" if is_sequence else "bag"
    return TextTable(
        arguments.data,
        arguments.target,
        columns,
        form,
        length=arguments.context,
        task=arguments.task,
    )


_STREAMS = 32
_CHUNKS = 4  # of a piece, at least: what does not fill one for all of them is left over

_MAKE: dict[str, Callable[[Arguments], Source]] = {
    "images": _images,
    "sounds": _sounds,
    "text": _text,
    "text table": _text_table,
    "forecast": _forecast,
}
_WORDS = {
    "set": "a set with a name",
    "table": "a table",
    "text table": "a table with a --text column",
    "forecast": "a table with a --forecast column",
    "images": "a folder of pictures",
    "sounds": "a folder of sounds",
    "text": "a text",
}
# The rows that these become, for which a network is asked for; those of a set are seen later.
_FORMS = {
    "table": "numbers",
    "text table": "words",
    "forecast": "series",
    "images": "pictures",
    "sounds": "sounds",
    "text": "text",
}
_GOES_WITH = {
    "image_size": ("images",),
    "skip_unreadable": ("images", "sounds"),
    "seconds": ("sounds",),
    "context": ("text", "text table"),
    "words": ("text",),
    "vocabulary": ("text",),
    "text": ("text table",),
    "forecast": ("forecast",),
    "horizon": ("forecast",),
    "window": ("forecast",),
}


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given


def _download(name: str) -> None:
    if name not in NAMED:
        raise UsageError(
            f"{name} is no public set that could be downloaded",
            where="--download",
            do=f"leave it out, or name one of: {', '.join(NAMED)}",
        )
    download(name, say)


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
