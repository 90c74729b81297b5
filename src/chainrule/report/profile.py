"""Where the time of a training step went, kernel by kernel: bars, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from chainrule.observe.wording import count
from chainrule.report.page import Figure, Table
from chainrule.report.scales import MISSING, number, percent
from chainrule.report.svg import (
    CHARACTER,
    Svg,
    element,
    join,
    label_at,
    line,
    picture,
    shorten,
)

if TYPE_CHECKING:
    from chainrule.observe.profile import KernelTime, Profile

BARS = 20
ROWS = 200
_NAME = 46  # characters beside a bar
_BAR = 320.0  # drawing units of the longest bar
_LINE = 20.0
INKS = {"forward": "train", "backward": "held", "update": "other", "metrics": "rest"}


@dataclass(frozen=True)
class Profiled:
    """The section on time: what was timed, and its figure."""

    about: str
    figure: Figure


def profiled(profile: Profile | None) -> Profiled | None:
    """The section, or None where the run was not profiled."""
    if profile is None:
        return None
    reached = profile.flops / profile.seconds
    about = (
        f"A step of {count(profile.batch, 'row')} takes {time_text(profile.seconds)} on "
        f"{count(profile.threads, 'thread')}: {count(len(profile.kernels), 'kernel')} with "
        f"{number(profile.flops / 1e6, 3)} million operations, {rate_text(reached)}, "
        f"{percent(reached / profile.peak)} of what this machine reaches where nothing but "
        f"arithmetic is to be done ({rate_text(profile.peak)})."
    )
    slowest = profile.slowest()
    notes = ["Blue is forward, orange backward, green the update, grey all else."]
    if len(slowest) > BARS:
        rest = sum(kernel.seconds for kernel in slowest[BARS:])
        notes.append(
            f"The {len(slowest) - BARS} kernels not drawn take {percent(profile.share(rest))}."
        )
    figure = Figure(
        "profile-kernels",
        "Time of a step",
        "Each bar is a kernel, the longest first; then what lies around them.",
        _bars(profile, slowest[:BARS]),
        _table(profile, slowest),
        notes,
    )
    return Profiled(about, figure)


def time_text(seconds: float) -> str:
    """A short time in the unit that suits it."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{number(seconds / size, 3)} {unit}"
    return f"{number(seconds * 1e9, 2)} ns"


def rate_text(flops_per_second: float) -> str:
    """Operations in a second, such as "98.3 GFLOP/s"."""
    return f"{number(flops_per_second / 1e9, 3)} GFLOP/s"


def what(kernel: KernelTime) -> str:
    """A kernel in a few words: its ops, and the layer."""
    ops = ", ".join(kernel.ops[:3]) + (" ..." if len(kernel.ops) > 3 else "")
    return f"{ops} ({kernel.layer})" if kernel.layer else ops


def _bars(profile: Profile, kernels: Sequence[KernelTime]) -> Svg:
    bars = [(what(k), k.seconds, INKS.get(k.stage, "rest"), f"{k.name}: {k.line}") for k in kernels]
    bars.append(("waiting for other threads", profile.waiting, "rest", ""))
    bars.append(("the loop around the kernels", profile.around, "rest", ""))
    longest = max(seconds for _, seconds, _, _ in bars)
    left = CHARACTER * min(_NAME, max(len(name) for name, *_ in bars))
    parts = []
    for place, (name, seconds, ink, title) in enumerate(bars):
        y = 4 + place * _LINE
        parts.append(label_at(left, y + 11, shorten(name, _NAME), "tick", "end"))
        width = max(_BAR * seconds / longest, 0.5)
        told = f"{time_text(seconds)}, {percent(profile.share(seconds))}"
        bar = element("rect", class_=f"bar {ink}", x=left + 8, y=y, width=width, height=_LINE - 6)
        parts.append(element("g", element("title", f"{title} {told}".strip()), bar))
        parts.append(label_at(left + 14 + width, y + 11, told, "tick"))
    height = 8 + len(bars) * _LINE
    parts.append(line(left + 8, 0, left + 8, height - 6, "axis"))
    label = f"The time of each kernel of a step, {count(len(bars), 'bar')}"
    width = left + _BAR + 8 + 18 * CHARACTER
    return picture(width, height, label, join(parts), class_="chart fixed")


def _table(profile: Profile, kernels: Sequence[KernelTime]) -> Table:
    columns = [*"kernel does layer line time share operations bytes GFLOP/s".split(), "of peak"]
    rows = [
        [
            kernel.name,
            ", ".join(kernel.ops),
            kernel.layer or MISSING,
            PurePath(kernel.line).name or MISSING,
            time_text(kernel.seconds),
            percent(profile.share(kernel.seconds)),
            f"{kernel.flops:,}",
            f"{kernel.bytes:,}",
            number(kernel.flops_per_second / 1e9, 3),
            percent(kernel.flops_per_second / profile.peak),
        ]
        for kernel in kernels[:ROWS]
    ]
    for name, seconds in (("waiting", profile.waiting), ("loop around", profile.around)):
        rest = [MISSING] * 3
        times = [time_text(seconds), percent(profile.share(seconds))]
        rows.append([name, *rest, *times, *[MISSING] * 4])
    left_out = len(kernels) - ROWS
    note = f"The {left_out:,} kernels that take least are left out." if left_out > 0 else ""
    return Table(columns, rows, note)
