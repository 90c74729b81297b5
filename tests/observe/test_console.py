"""Progress is readable at any width, plain in a log, and never the end of a run."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import math
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
from events_at_random import EVENTS, values
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.observe import (
    Console,
    EpochEnded,
    Evaluated,
    NonFinite,
    Progress,
    RunEnded,
    RunStarted,
    console,
)
from chainrule.observe.line import fitting, progress_parts
from chainrule.observe.wording import clock, count, duration, printable, quantity, rate

COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")
STEPS = 45


def run(epochs: int = 20, steps: int = STEPS, dataset: str = "digits", first: int = 0) -> list[Any]:
    """The events of a run that learns digits, with three progresses an epoch."""
    start = RunStarted(
        dataset,
        "multiclass",
        "Dense",
        4810,
        1437,
        360,
        epochs,
        steps,
        32,
        0,
        "reference",
        None,
        first,
    )
    events: list[Any] = [start]
    for step in range(first + 1, epochs * steps + 1):
        epoch, place = divmod(step - 1, steps)
        if place % max(steps // 3, 1) == 0 or place == steps - 1:
            left = (epochs * steps - step) * 0.01
            events.append(Progress(step, epochs * steps, epoch, 2.5 / step, 45_000.0, left))
        if place == steps - 1:
            held_out = {"loss": 0.2, "accuracy": 1 - 1 / (epoch + 2)}
            events.append(EpochEnded(epoch, step, {"loss": 2.5 / step}, held_out, 1e-3, 0.45, True))
    events.append(Evaluated("held-out", {"accuracy": 0.9722}))
    metrics = {"accuracy": 0.9722, "log_loss": 0.0812}
    return [*events, RunEnded("finished", epochs * steps, epochs, epochs - 2, 9.0, metrics)]


def shown(events: list[Any], **options: Any) -> list[str]:
    """The lines of a log of these events."""
    stream = io.StringIO()
    watch = Console(stream, **options)
    for event in events:
        watch(event)
    watch.close()
    return stream.getvalue().splitlines()


class Screen:
    """What a terminal of a width shows: lines that wrap, and that can be drawn anew."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines = [""]
        self.column = 0
        self.drawn: list[str] = []  # each line as it was when something replaced it

    def feed(self, text: str) -> Screen:
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\s\S]", text):
            if token == "\x1b[2K":
                self.drawn.append(self.lines[-1])
                self.lines[-1] = ""
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self.lines.append("")
                self.column = 0
            elif token.startswith("\x1b"):
                assert token.endswith("m"), f"{token!r} moves the cursor"
            else:
                if self.column == self.width:
                    self.lines.append("")
                    self.column = 0
                self.lines[-1] = self.lines[-1][: self.column] + token
                self.column += 1
        return self


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, list[str]]]:
    """A terminal to write to, and what has come out at its other end (once this is left)."""
    screen, program = pty.openpty()
    resize(program, columns)
    output: list[bytes] = []
    told: list[str] = []

    def drain() -> None:
        try:
            while data := os.read(screen, 65536):
                output.append(data)
        except OSError:  # how Linux says that the other end is closed
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        with os.fdopen(program, "w", encoding="utf-8") as stream:
            yield stream, told
    finally:
        reader.join()
        os.close(screen)
        told.append(b"".join(output).decode())


def resize(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


@pytest.fixture(autouse=True)
def common_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terminal whatever the tests run in, and no waiting between two drawings."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_DRAWINGS", 0.0)


@pytest.mark.parametrize("columns", [40, 41, 60, 80, 100, 137, 200])
def test_the_line_of_progress_fits_a_terminal_and_leaves_only_the_ending(columns: int) -> None:
    with terminal(columns) as (stream, told):
        watch = Console(stream)
        for event in run():
            watch(event)
    screen = Screen(columns).feed(told[0])
    assert len(screen.drawn) == 1 + 20 * 4  # each progress, replaced by the next or the ending
    for line in screen.drawn[1:]:
        assert len(line) < columns
        assert re.match(r"epoch [ 12]\d/20  .*loss \d", line)
    last = screen.drawn[-1]
    assert ("accuracy" in last) == (columns >= 60)
    assert "left" in screen.drawn[1]
    assert ("rows/s" in last) == (columns >= 100)
    assert ("━━━" in last) == (columns >= 80)
    text = " ".join(" ".join(screen.lines).split())
    assert text.startswith(
        "training on digits: 1,437 rows (360 held out), 4,810 weights, 20 epochs"
    )
    assert text.endswith("best epoch 19 held-out rows: accuracy 0.9722, log loss 0.0812")
    assert "left" not in text  # no line of progress stays


def test_the_line_follows_a_terminal_that_is_made_narrower() -> None:
    events = run()
    with terminal(200) as (stream, told):
        watch = Console(stream)
        for event in events[:10]:
            watch(event)
        resize(stream.fileno(), 40)
        for event in events[10:]:
            watch(event)
    widths = [len(line) for line in Screen(200).feed(told[0]).drawn]
    assert max(widths[:6]) > 80
    assert max(widths[12:]) < 40


def test_a_terminal_that_does_not_tell_its_width_is_taken_for_80_columns() -> None:
    with terminal(0) as (stream, told):
        watch = Console(stream)
        for event in run():
            watch(event)
    assert {len(line) for line in Screen(80).feed(told[0]).drawn[1:]} <= set(range(60, 80))


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_is_left_out_where_no_color_is_set(
    no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    with terminal(100) as (stream, told):
        watch = Console(stream)
        for event in run():
            watch(event)
    assert bool(COLOUR.search(told[0])) != no_color
    assert "━" in told[0]  # the bar is told by its shape too
    assert "─" in told[0]


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [(1, 1000), (3, 100), (5, 45), (9, 45), (10, 45), (11, 45), (20, 45), (1000, 4)],
)
def test_a_pipe_gets_about_ten_plain_lines(epochs: int, steps: int) -> None:
    events = run(epochs, steps)
    if epochs == 1:
        start = events[0]
        events[1:1] = [Progress(step, 1000, 0, 1.0, 1e3, 9.0) for step in range(0, 1000, 20)]
        assert isinstance(start, RunStarted)
    lines = shown(events)
    progress = [line for line in lines if line.startswith("epoch")]
    assert 5 <= len(progress) <= 13
    assert len(lines) == len(progress) + 3  # what is trained, and two lines at the end
    assert "\x1b" not in "".join(lines)
    assert f"{epochs}/{epochs}" in progress[-1]
    assert "held-out accuracy" in progress[-1]
    assert lines[-2].startswith("finished: ")


@pytest.mark.tiny
def test_plain_lines_say_how_far_how_well_how_fast_and_how_long() -> None:
    lines = shown(run())
    assert lines[1] == (
        "epoch  2/20  loss 0.0278  held-out accuracy 0.6667  3.2k rows/s  0:09 left"
    )
    assert lines[-3].startswith("epoch 20/20  loss 0.0028  held-out accuracy 0.9524")


def test_a_long_first_epoch_is_told_though_it_is_less_than_a_tenth() -> None:
    events = [
        dataclasses.replace(event, seconds=30.0) if isinstance(event, EpochEnded) else event
        for event in run()
    ]
    assert shown(events)[1].startswith("epoch  1/20")
    assert shown(run())[1].startswith("epoch  2/20")


def test_a_language_model_s_loss_stands_beside_that_of_the_training_rows() -> None:
    events = [
        dataclasses.replace(event, held_out=dict(event.held_out, perplexity=1.22))
        if isinstance(event, EpochEnded)
        else event
        for event in run()
    ]
    assert "loss 0.0278  held-out loss 0.2000" in shown(events)[1]


def test_a_resumed_run_says_where_it_goes_on() -> None:
    lines = shown(run(first=450))
    assert lines[1] == "going on from step 450 of 900"
    assert [line[:11] for line in lines[2:-2]] == [f"epoch {n}/20" for n in (12, 14, 16, 18, 20)]


def test_a_caller_with_its_own_summary_can_leave_the_ending_out() -> None:
    assert shown(run(), closing=False) == shown(run())[:-2]


def test_a_loss_that_is_not_finite_is_told_where_and_when() -> None:
    stopped = NonFinite(1234, 2, "layers.2.weight", 0.25)
    text = "step 1,234: layers.2.weight is not finite; the last finite loss was 0.2500"
    assert shown([*run()[:5], stopped])[-1] == text


def test_stdout_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Console()
    for event in run():
        watch(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 20/20" in err


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal(80) as (stream, told):
        watch = Console(stream)
        for event in run():
            watch(event)
    assert "\x1b" not in told[0]
    assert told[0].split("\r\n")[:-1] == shown(run())


def test_after_close_the_cursor_is_on_a_line_of_its_own() -> None:
    def stopped(watch: Console) -> None:
        with watch:
            for event in run()[:5]:
                watch(event)
            raise KeyboardInterrupt

    with terminal(80) as (stream, told):
        with pytest.raises(KeyboardInterrupt):
            stopped(Console(stream))
        stream.write("Traceback")
    screen = Screen(80).feed(told[0])
    assert screen.lines[-1] == "Traceback"
    assert screen.lines[-2].startswith("epoch  1/20")


def test_tiny_epochs_do_not_flood_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_DRAWINGS", 3600.0)
    with terminal(80) as (stream, told):
        watch = Console(stream)
        for event in run(epochs=1000, steps=4):
            watch(event)
    assert told[0].count("loss 2.5") == 1  # the first, and then nothing for an hour


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("live", [False, True, None])
def test_a_stream_that_breaks_does_not_stop_the_run(live: bool | None) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed):
        watch = Console(stream, live=live)
        for event in run():
            watch(event)
        watch.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("live", [False, True])
def test_any_name_can_be_shown_in_any_alphabet(encoding: str, live: bool) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    watch = Console(stream, live=live)
    for event in run(dataset="\x1b[2Jné\udcff[bold]数.csv"):
        watch(event)
    text = raw.getvalue().decode(encoding)
    assert "\x1b[2J" not in text
    assert "?[2Jn" in text
    assert "[bold]" in text  # names are no markup
    assert "finished" in text
    assert ("━" in text) == (live and encoding == "utf-8")


def test_what_comes_before_the_start_is_passed_over() -> None:
    assert shown(run()[1:5]) == []


@settings(max_examples=200)
@given(
    events=st.lists(
        EVENTS | st.builds(Progress, *map(values, (int, int, int, float, float, float)))
    ),
    live=st.booleans(),
)
def test_no_event_can_stop_the_run(events: list[Any], live: bool) -> None:
    shown([run()[0], *events], live=live)


@given(
    progress=st.builds(Progress, *map(values, (int, int, int, float, float, float))),
    epochs=st.integers(1, 10**6),
    width=st.integers(40, 200),
)
def test_the_parts_fit_from_40_columns_on(progress: Progress, epochs: int, width: int) -> None:
    parts = fitting(progress_parts(progress, epochs, {"loss": 0.5}, bar=True), width - 1)
    text = "  ".join(part.text for part in parts)
    assert text.startswith("epoch ")
    assert "loss " in text
    assert len(text) < width


@pytest.mark.parametrize(
    ("function", "argument", "text"),
    [
        (quantity, 0.0, "0.0000"),
        (quantity, 0.12345, "0.1235"),
        (quantity, -12.345, "-12.35"),
        (quantity, 1234.5, "1234"),
        (quantity, 1e-4, "1.0e-04"),
        (quantity, 123456.0, "1.2e+05"),
        (quantity, math.nan, "nan"),
        (quantity, -math.inf, "-inf"),
        (rate, 0.0, ""),
        (rate, math.nan, ""),
        (rate, 850.4, "850 rows/s"),
        (rate, 999.6, "1.0k rows/s"),
        (rate, 45_123.0, "45.1k rows/s"),
        (rate, 123_456.0, "123k rows/s"),
        (rate, 999_600.0, "1.0M rows/s"),
        (rate, 4.56e6, "4.6M rows/s"),
        (clock, 0.0, "0:00"),
        (clock, 6.2, "0:07"),
        (clock, 59.5, "1:00"),
        (clock, 3723.0, "1:02:03"),
        (clock, 2 * 86400 + 3 * 3600 + 240.0, "2d 03:04"),
        (clock, math.inf, ""),
        (clock, -1.0, ""),
        (duration, 3.21, "3.2 s"),
        (duration, 59.96, "1 min 00 s"),
        (duration, 125.0, "2 min 05 s"),
        (duration, 3720.0, "1 h 02 min"),
        (duration, math.inf, "inf s"),
    ],
)
def test_numbers_are_short(function: Any, argument: float, text: str) -> None:
    assert function(argument) == text


def test_things_are_counted_and_names_made_printable() -> None:
    assert count(1, "epoch") == "1 epoch"
    assert count(1437, "row") == "1,437 rows"
    assert printable("a\tb\x9bcé", "ascii") == "a?b?c?"


def test_importing_the_room_does_not_import_rich() -> None:
    import subprocess
    import sys

    code = "import sys; sys.path[:0] = sys.argv[1:]; import chainrule.observe; "
    code += "sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, *sys.path], check=True)
    assert Path(console.__file__).is_file()
