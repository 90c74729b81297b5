"""Where the time of a training step went: what `chainrule profile` leaves beside a run's record."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a step: what it is, where it comes from, and what it takes.

    `layer` and `line` are "" where it belongs to none; `stage` is "forward", "backward",
    "update" or "metrics". `seconds` are those of one step, on its first thread.
    """

    name: str
    ops: tuple[str, ...]
    stage: str
    layer: str
    line: str
    flops: int
    bytes: int
    shared: bool
    seconds: float

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """The kernels of a step, in the order in which they run, and the step as a whole.

    `seconds` is the time of one step on average over `steps`; `waiting` is what of it the first of
    `threads` threads waited for the others, `around` what the loop around the kernels took. `peak`
    is the most flops in a second that as many threads were seen to reach.
    """

    kernels: tuple[KernelTime, ...]
    seconds: float
    waiting: float
    around: float
    steps: int
    batch: int
    threads: int
    peak: float

    @property
    def flops(self) -> int:
        return sum(kernel.flops for kernel in self.kernels)

    def share(self, seconds: float) -> float:
        """Which part of a step so many seconds are."""
        return seconds / self.seconds

    def slowest(self) -> list[KernelTime]:
        """The kernels, those that take longest first."""
        return sorted(self.kernels, key=lambda kernel: -kernel.seconds)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def profile_text(profile: Profile) -> str:
    """The profile as the text of its file."""
    return json.dumps(profile.to_json(), indent=1, allow_nan=False) + "\n"


def read_profile(path: str | os.PathLike[str]) -> Profile | None:
    """The profile in a file; None where there is none, or none that this version can read. It only
    adds to a report, so it never stands in the way of one."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            return None
        kernels = tuple(_kernel(one) for one in found.pop("kernels"))
        profile = Profile(kernels=kernels, **found)
        numbers = [profile.seconds, profile.peak, profile.waiting, profile.around]
        numbers += [kernel.seconds for kernel in kernels]
        whole = [profile.steps, profile.batch, profile.threads]
        whole += [n for kernel in kernels for n in (kernel.flops, kernel.bytes)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    sound = all(isinstance(n, int | float) for n in numbers)
    sound = sound and all(isinstance(n, int) for n in whole)
    return profile if sound and profile.seconds > 0 and profile.peak > 0 else None


def _kernel(found: Mapping[str, Any]) -> KernelTime:
    words = ("name", "stage", "layer", "line")
    given = {field.name: found[field.name] for field in fields(KernelTime)}
    given |= {name: str(given[name]) for name in words}
    given["ops"] = tuple(map(str, given["ops"]))
    return KernelTime(**given)
