"""Progress on a terminal, or in a log.

A terminal gets one line that is drawn anew a few times a second. Anything else (a pipe, a file,
continuous integration) gets about ten plain lines over the run. Both go to stderr, so that stdout
stays free for results.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import textwrap
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from chainrule.observe.events import (
    EpochEnded,
    Evaluated,
    Event,
    NonFinite,
    Progress,
    RunEnded,
    RunStarted,
)
from chainrule.observe.line import Part, fitting, progress_parts
from chainrule.observe.wording import count, duration, printable, quantity

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_PLAIN_LINES = 10  # over a run, where the line cannot be drawn anew
_FEW = 5  # epochs, fewer than which are too few for a line each to be enough
_LONG = 5.0  # seconds of a first epoch, after which a line says how long the others will take
_SECONDS_BETWEEN_DRAWINGS = 0.05  # epochs of a tiny network can end thousands of times a second
_COLUMNS = 80  # of a terminal that does not say
_ERASE_LINE = "\r\x1b[2K"


class Console:
    """A watcher that shows the progress of a run on `stream` (stderr if not given).

    `live` chooses between the line that is drawn anew and plain lines; None looks at the stream.
    `closing=False` leaves out the lines about the end, for callers with a summary of their own.
    Colour is left out where NO_COLOR is set. A stream that breaks (a closed pipe) is given up in
    silence: a run is worth more than its progress.
    """

    def __init__(
        self, stream: TextIO | None = None, *, live: bool | None = None, closing: bool = True
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = _can_redraw(self._stream) if live is None else live
        self._closing = closing
        self._started: RunStarted | None = None
        self._held_out: Mapping[str, float] = {}
        self._rows = "held-out"
        self._tenths = 0  # of the run that a plain line has told of
        self._last_drawing = -math.inf
        self._drawn = False  # the cursor stands behind a line of progress
        self._broken = False  # the stream takes nothing any more
        self._rich: RichConsole | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._start(event)
            case Progress() if self._started:
                self._progress(event, self._started)
            case EpochEnded() if self._started:
                self._epoch(event, self._started)
            case NonFinite():
                self._say(
                    f"step {event.step:,}: {event.where} is not finite; "
                    f"the last finite loss was {quantity(event.last_loss)}"
                )
            case Evaluated():
                self._rows = event.rows
            case RunEnded():
                self._end(event)

    def close(self) -> None:
        """Leave the cursor at the start of a line, with the last progress still to be read."""
        if self._drawn:
            self._write("\n")
            self._drawn = False

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, started: RunStarted) -> None:
        self._started = started
        self._held_out = {}
        total = started.epochs * started.steps_per_epoch
        self._tenths = _tenths(started.first_step, total)
        held_out = f" ({started.held_out_rows:,} held out)" if started.held_out_rows else ""
        self._say(
            f"training on {started.dataset}: {count(started.train_rows, 'row')}{held_out}, "
            f"{count(started.weights, 'weight')}, {count(started.epochs, 'epoch')} "
            f"of {count(started.steps_per_epoch, 'step')}"
        )
        if started.first_step:
            self._say(f"going on from step {started.first_step:,} of {total:,}")

    def _progress(self, progress: Progress, started: RunStarted) -> None:
        if self._live:
            self._draw(progress, started)
        # Few epochs: lines between their ends too. An end's own line has its held-out metric.
        elif started.epochs < _FEW and progress.step % max(started.steps_per_epoch, 1):
            self._log(progress, started)

    def _epoch(self, ended: EpochEnded, started: RunStarted) -> None:
        self._held_out = ended.held_out
        if self._live:
            return  # the next progress tells it
        left = (started.epochs - ended.epoch - 1) * ended.seconds
        progress = Progress(
            step=ended.step,
            total_steps=started.epochs * started.steps_per_epoch,
            epoch=ended.epoch,
            loss=ended.train.get("loss", math.nan),
            rows_per_second=started.train_rows / ended.seconds if ended.seconds > 0 else math.nan,
            seconds_left=left if left > 0 else math.nan,
        )
        is_long = ended.epoch == 0 and ended.seconds >= _LONG
        self._log(progress, started, always=is_long or started.epochs <= _PLAIN_LINES)

    def _log(self, progress: Progress, started: RunStarted, *, always: bool = False) -> None:
        """A plain line, where the run has come a tenth further since the last one."""
        reached = _tenths(progress.step, progress.total_steps)
        if always or reached > self._tenths:
            self._tenths = reached
            parts = progress_parts(progress, started.epochs, self._held_out, bar=False)
            self._write("  ".join(part.text for part in parts) + "\n")

    def _draw(self, progress: Progress, started: RunStarted) -> None:
        """The line of progress, in place of the one before it."""
        now = time.monotonic()
        if now - self._last_drawing < _SECONDS_BETWEEN_DRAWINGS:
            return
        self._last_drawing = now
        parts = progress_parts(progress, started.epochs, self._held_out, bar=True)
        # One column stays free: a terminal that is written to its last column moves on.
        width = self._columns() - 1
        done = progress.step / progress.total_steps if progress.total_steps else 0.0
        self._write(_ERASE_LINE + self._styled(fitting(parts, width), width, done))
        self._drawn = True

    def _styled(self, parts: list[Part], width: int, done: float) -> str:
        """The parts as one line of text with the terminal's codes for their styles."""
        from rich.console import Console as RichConsole
        from rich.text import Text

        if self._rich is None:
            # Its own file, never the stream: rich ends the process when it meets a closed pipe.
            self._rich = RichConsole(file=io.StringIO(), force_terminal=True, highlight=False)
        self._rich.width = width
        filled, empty = "━─" if self._alphabet().startswith("utf") else "=-"
        line = Text()
        for part in parts:
            if line:
                line.append("  ")
            if part.bar:
                length = round(len(part.text) * min(done, 1.0))
                line.append(filled * length, "cyan")
                line.append(empty * (len(part.text) - length), "dim")
            else:
                line.append(part.text, part.style)
        with self._rich.capture() as captured:
            self._rich.print(line, end="", no_wrap=True, overflow="crop", crop=True)
        return captured.get()

    def _end(self, ended: RunEnded) -> None:
        self._erase()
        if not self._closing:
            return
        best = f"; best epoch {ended.best_epoch + 1:,}" if ended.best_epoch >= 0 else ""
        self._say(
            f"{ended.reason}: {count(ended.epoch, 'epoch')}, {count(ended.step, 'step')} "
            f"in {duration(ended.seconds)}{best}"
        )
        if ended.metrics:
            metrics = (f"{n.replace('_', ' ')} {quantity(v)}" for n, v in ended.metrics.items())
            self._say(f"{self._rows} rows: {', '.join(metrics)}")

    def _say(self, text: str) -> None:
        """A line that stays, above the line of progress."""
        self._erase()
        text = printable(text, self._alphabet())
        if self._live:
            text = textwrap.fill(text, self._columns() - 1, subsequent_indent="  ")
        self._write(text + "\n")

    def _erase(self) -> None:
        if self._drawn:
            self._write(_ERASE_LINE)
            self._drawn = False

    def _alphabet(self) -> str:
        return (getattr(self._stream, "encoding", None) or "utf-8").lower()

    def _columns(self) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        return _COLUMNS

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._broken = True


def _can_redraw(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # the stream is closed
        return False


def _tenths(step: int, total: int) -> int:
    """How many of the plain lines of a run are due after `step` of its `total` steps."""
    return _PLAIN_LINES * step // total if total else 0
