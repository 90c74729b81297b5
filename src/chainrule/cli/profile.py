"""`chainrule profile`: where the time of a run's training step goes, kernel by kernel."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from chainrule import nn
from chainrule.cli.parser import Arguments
from chainrule.cli.resume import network_arrays, same_data
from chainrule.cli.speaking import columns, command, json_text, say, shown_path, tell
from chainrule.observe.profile import KernelTime, Profile
from chainrule.observe.wording import count, printable
from chainrule.report.profile import rate_text, time_text
from chainrule.report.scales import SPACE, percent
from chainrule.training.profiling import profile
from chainrule.training.rundir import RunDirectory

_WIDE = 110  # columns of a terminal from which more of each kernel is told
_IN_PYTHON = "cr.load_run(RUN).profile((X, y))"
_LEAST, _MOST = 16, 24  # columns of a kernel's ops, and of what else is told of it


def run_profile(arguments: Arguments) -> int:
    """Takes steps on a copy of the run's weights, and tells where their time went."""
    directory = RunDirectory(arguments.run)
    saved = directory.read_config()
    arrays = directory.checkpoints().load_latest().arrays
    net = nn.from_json(saved["net"], network_arrays(arrays))
    prepared = same_data(arguments.data, saved, "profile RUN {}", _IN_PYTHON)
    found = profile(directory, net, prepared, arguments.seconds, arguments.threads)
    if arguments.json:
        told = {"run_dir": str(directory.path), "profile": str(directory.profile)}
        tell(json_text(told | found.to_json()))
        return 0
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in _lines(found, columns(sys.stdout)):
        tell(_printed(line, encoding))
    say(f"kept in {shown_path(directory.profile)}; to see it in the report:")
    say(f"  {command('report', shown_path(directory.path))}")
    return 0


def _printed(line: str, encoding: str) -> str:
    """A line in the alphabet of a stream: not all have what stands for a millionth, nor rules."""
    line = line.replace(SPACE, " ")
    if not encoding.lower().startswith("utf"):
        line = line.replace("µ", "u").replace("─", "-").replace("…", "~")
    return printable(line, encoding)


def _lines(found: Profile, width: int) -> list[str]:
    """The step as a whole, then its kernels."""
    reached = found.flops / found.seconds
    head = (
        f"A step of {count(found.batch, 'row')} takes {time_text(found.seconds)} on "
        f"{count(found.threads, 'thread')} ({found.steps:,} steps timed)",
        f"{rate_text(reached)}, {percent(reached / found.peak)} of this machine's "
        f"{rate_text(found.peak)}",
    )
    return [*head, "", *_table(found, width)]


def _table(found: Profile, width: int) -> list[str]:
    """The kernels, longest first, as wide as the terminal: what does not fit is cut or left out."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    with_lines = width >= _WIDE and any(kernel.line for kernel in found.kernels)
    names = ["kernel", *(["line"] if with_lines else []), *(["bytes"] if width >= _WIDE else [])]
    numbers = ("time", "share", "GFLOP/s", "of peak")
    rows = [_row(found, kernel, names) for kernel in found.slowest()]
    around = (("waiting for other threads", found.waiting), ("the loop around", found.around))
    for name, seconds in around:
        told = time_text(seconds), percent(found.share(seconds))
        rows.append([name, *[""] * (len(names) - 1), *told, "", ""])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    taken = 0
    for place, name in enumerate((*names, *numbers)):
        needed = max(len(name), *(len(row[place]) for row in rows))
        taken += 0 if place == 0 else min(needed, _MOST) + 3  # and what lies between
    for place, name in enumerate((*names, *numbers)):
        side: Literal["left", "right"] = "left" if name in ("kernel", "line") else "right"
        most = max(width - taken, _LEAST) if place == 0 else _MOST
        table.add_column(name, justify=side, no_wrap=True, overflow="ellipsis", max_width=most)
    for row in rows:
        table.add_row(*row)
    # A file of its own, without colours: what is told may go to a pipe.
    file = io.StringIO()
    console = Console(file=file, width=max(width, taken + _LEAST), color_system=None)
    console.print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def _row(found: Profile, kernel: KernelTime, names: Sequence[str]) -> list[str]:
    where = f"{kernel.stage} {kernel.layer}".rstrip()
    more = {"line": Path(kernel.line).name, "bytes": f"{kernel.bytes:,}"}
    rate = kernel.flops_per_second
    return [
        f"{where}: {', '.join(kernel.ops)}",
        *(more[name] for name in names if name in more),
        time_text(kernel.seconds),
        percent(found.share(kernel.seconds)),
        f"{rate / 1e9:.1f}" if kernel.flops else "",
        percent(rate / found.peak) if kernel.flops else "",
    ]
