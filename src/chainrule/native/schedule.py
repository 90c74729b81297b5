"""In which order regions run, which of them are shared out among threads, and where threads wait.

A phase is a set of regions between two barriers. Regions that are shared out may only read what
earlier phases made; small regions run on the first thread alone, one after the other, and may read
each other's results within a phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.graph import OPS, Node, multiply_adds
from chainrule.native.regions import Region, is_flag, pads_lines, reads

# Rough costs in nanoseconds on a present-day core; only their orders of magnitude matter.
_MULTIPLY_ADD = 0.02
_ELEMENT = 0.1
_HARD_ELEMENT = 1.0
_HARD = frozenset(
    "exp expm1 log log1p sin cos tanh erf power arctan2 remainder floor_divide".split()
)
SHARED_FROM = 3_000.0  # nanoseconds of work from which a barrier pays
THREADS_FROM = 20_000.0  # nanoseconds of a whole program from which a second thread pays


@dataclass(frozen=True)
class Scheduled:
    """A region, whether threads share it, and its phase."""

    region: Region
    shared: bool
    phase: int


def cost(region: Region) -> float:
    """About how long a region takes on one core, in nanoseconds."""
    total = 0.0
    for node in region.members:
        if node.op == "contract":
            total += _MULTIPLY_ADD * multiply_adds(node)
            continue
        size = max(node.type.size, *(n.type.size for n in node.operands), 1)
        total += size * (_HARD_ELEMENT if node.op in _HARD else _ELEMENT)
    return total


def _can_share(region: Region) -> bool:
    """Whether results can be handed out so that each is computed by one thread."""
    if not region.domain:
        return False
    if region.kind in ("sum", "max"):
        axes = region.lead["axes"] if region.lead else ()
        return len(axes) < len(region.domain)
    if region.kind == "argmax":
        return len(region.domain) > 1
    if region.kind == "pad" and region.lead is not None:
        return pads_lines(region.lead)
    return region.kind in ("map", "contract", "random_bits", "fold")


def schedule(regions: Sequence[Region], kept: set[Node]) -> list[Scheduled]:
    """Every region in the earliest phase that its sources allow."""
    home: dict[Node, Scheduled] = {}
    found: list[Scheduled] = []
    for region in regions:
        shared = _can_share(region) and cost(region) >= SHARED_FROM
        # Flags are taken down at the beginning of the program: they are raised after a barrier.
        phase = int(any(is_flag(n) for n in region.members))
        for node in region.members:
            for source, _ in reads(node, kept):
                before = home.get(source)
                if before is None or before.region is region:
                    continue
                apart = shared or before.shared
                phase = max(phase, before.phase + 1 if apart else before.phase)
        entry = Scheduled(region, shared, phase)
        found.append(entry)
        for node in region.members:
            home[node] = entry
    return sorted(found, key=lambda s: s.phase)  # stable: sources stay before their readers


def useful_threads(scheduled: Sequence[Scheduled]) -> int:
    """How many threads make the program faster: each has as much to do as one of the first two."""
    work = sum(cost(s.region) for s in scheduled if s.shared)
    return max(1, int(min(2 * work / THREADS_FROM, 2.0**31)))


def describe(scheduled: Sequence[Scheduled]) -> str:
    """The schedule as text, a line for each region."""
    lines = []
    for entry in scheduled:
        who = "shared" if entry.shared else "first thread"
        elementwise = sum(bool(OPS[n.op].elementwise) for n in entry.region.members)
        lines.append(
            f"phase {entry.phase}, {who}: {entry.region} "
            f"({cost(entry.region) / 1000:.1f} us, {elementwise} elementwise)"
        )
    return "\n".join(lines)
