"""`chainrule generate`: a network that was trained on a text writes on."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import json_text, say, shown_path, tell
from chainrule.data.vocabulary import UNKNOWN
from chainrule.training import load_run
from chainrule.training.generation import Manner, beginning, text_encoder, written


def run_generate(arguments: Arguments) -> int:
    """Writes the prompt and what follows to stdout as it is made, or with --json one object."""
    run = load_run(arguments.run)
    encoder = text_encoder(run.encoder, shown_path(arguments.run))
    manner = Manner(arguments.temperature, arguments.top, arguments.seed)
    begin = beginning(encoder.vocabulary, arguments.prompt)
    if begin.unknown:
        shown = ", ".join(f"{symbol!r}" for symbol in begin.unknown)
        how = f"read as {UNKNOWN}" if UNKNOWN in encoder.vocabulary.index else "left out"
        say(f"chainrule: not known to the network, and {how}: {shown}")
    started = time.perf_counter()
    pieces = written(run.net, encoder, begin, arguments.length, manner, threads=arguments.threads)
    if arguments.json:
        text = "".join(pieces)
        told = {
            "run_dir": str(run.run_dir),
            "prompt": begin.text,
            "text": text,
            "length": arguments.length,
            "temperature": manner.temperature,
            "top": manner.top,
            "seed": manner.seed,
            "seconds": time.perf_counter() - started,
        }
        tell(json_text(told))
        return 0
    stream: TextIO | None = sys.stdout
    try:
        _put(stream, begin.text)
        for piece in pieces:
            _put(stream, piece)
    finally:  # also after Ctrl-C: what comes next begins a line
        _put(stream, "\n")
    return 0


def _put(stream: TextIO | None, text: str) -> None:
    """Writes a piece at once: in the alphabet of the stream, and nothing that would disturb a
    terminal."""
    if stream is None:
        return
    if stream.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()
