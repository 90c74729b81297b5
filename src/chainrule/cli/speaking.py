"""What a command says: results on stdout, everything else on stderr.

A broken stderr is given up in silence: a run is worth more than what is said about it. The command
line is called what the person called it, so that what it says to do can be copied.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from chainrule import config

_COLUMNS = 80  # where there is no terminal to ask
# The command's own name where a command follows, as in "chainrule train digits".
_OWN_NAME = re.compile(
    r"\bchainrule(?= (?:train|predict|generate|explain|stages|profile|report|cache|--|COMMAND))"
)
_INDENT = re.compile(r" *(?:where: |do: {4})?")


def command(*words: str) -> str:
    """A command line to copy, its words quoted where they must be: `./run train digits`."""
    return shlex.join([*shlex.split(config.COMMAND), *words])


def as_called(text: str) -> str:
    """A text that names commands of `chainrule`, in the words in which it was started."""
    return _OWN_NAME.sub(lambda _: config.COMMAND, text)


def say(text: str) -> None:
    """Lines on stderr, broken between words where it is a terminal."""
    stream: TextIO | None = sys.stderr
    if stream is None:
        return
    with suppress(OSError, ValueError):  # ValueError: it is closed
        text = as_called(text)
        print(broken(text, columns(stream)) if stream.isatty() else text, file=stream, flush=True)


def tell(text: str) -> None:
    """Lines on stdout; raises OSError where they cannot be written. Letters that its encoding lacks
    are escaped."""
    stream: TextIO | None = sys.stdout
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def columns(stream: TextIO | None) -> int:
    """The width of the terminal behind a stream; 80 where there is none."""
    if stream is None:
        return _COLUMNS
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    return _COLUMNS


def broken(text: str, width: int, hang: int = 2) -> str:
    """The text in lines of at most `width` columns, each going on below where its words began, or
    where they begin at the margin, `hang` columns from it."""
    return "\n".join(_broken_line(line, width, hang) for line in text.split("\n"))


def _broken_line(line: str, width: int, hang: int) -> str:
    found = _INDENT.match(line)
    indent = len(found[0]) if found else 0
    if len(line) <= width or indent > width / 2:
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * (indent or hang),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as it is shortest to read: relative where it is below the working directory."""
    whole = Path(path)
    try:
        return str(whole.relative_to(Path.cwd())) if whole.is_absolute() else str(whole)
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        return str(whole)


def json_text(value: Mapping[str, Any]) -> str:
    """One line of JSON; a number that is not finite, for which JSON has no word, becomes null."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
