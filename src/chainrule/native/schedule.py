"""In which order regions run, which of them are shared out among threads, and where threads wait.

A phase is a set of regions between two barriers. Regions that are shared out may only read what
earlier phases made; small regions run on the first thread alone, one after the other, and may read
each other's results within a phase.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chainrule.graph import WITH_BODY, Node, multiply_adds
from chainrule.native.regions import Region, is_flag, pads_lines, reads, scatters_lines

# Rough costs in nanoseconds on a present-day core; only their orders of magnitude matter.
_MULTIPLY_ADD = 0.02
_ELEMENT = 0.1
_HARD_ELEMENT = 1.0
_HARD = frozenset(
    "exp expm1 log log1p sin cos tanh erf power arctan2 remainder floor_divide".split()
)
SHARED_FROM = 3_000.0  # nanoseconds of work from which a barrier pays
_ITERATIONS = 16  # of a fixed point, which makes as many as it needs
THREADS_FROM = 20_000.0  # nanoseconds of a whole program from which a second thread pays


@dataclass(frozen=True)
class Scheduled:
    """A region, whether threads share it, and its phase."""

    region: Region
    shared: bool
    phase: int

    @property
    def title(self) -> str:
        """When it runs, who runs it, and what it is."""
        who = "all threads" if self.shared else "first thread"
        return f"phase {self.phase}, {who}, {self.region.kind} over {list(self.region.domain)}"


def cost(region: Region) -> float:
    """About how long a region takes on one core, in nanoseconds."""
    if region.lead is not None and region.lead.op in WITH_BODY:
        return _cost(region.lead)
    return sum(_cost(node) for node in region.members)


def steps_of(loop: Node) -> int:
    """How many steps a loop makes: exactly for a scan, and about, for a fixed point."""
    return int(loop["length"] if loop.op == "scan" else min(loop["max_iterations"], _ITERATIONS))


def _cost(node: Node) -> float:
    if node.op in WITH_BODY:
        return steps_of(node) * sum(_cost(n) for n in node["body"].nodes() if n.operands)
    if node.op == "contract":
        return _MULTIPLY_ADD * multiply_adds(node)
    size = max(node.type.size, *(n.type.size for n in node.operands), 1)
    return size * (_HARD_ELEMENT if node.op in _HARD else _ELEMENT)


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
    if region.kind == "scatter" and region.lead is not None:
        return scatters_lines(region.lead)
    return region.kind in ("map", "contract", "random_bits", "fold", "concatenate")


def schedule(
    regions: Sequence[Region], kept: set[Node], together: Collection[Node] = (), rows: int = 0
) -> list[Scheduled]:
    """Every region in the earliest phase that its sources allow. `together` are the loops whose
    steps have something to share. Where so many `rows` never meet all is one phase: a thread reads
    nothing but what it made itself."""
    if rows:
        return [Scheduled(region, True, 0) for region in regions]
    home: dict[Node, Scheduled] = {}
    found: list[Scheduled] = []
    for region in regions:
        shared = _can_share(region) and cost(region) >= SHARED_FROM
        if region.lead is not None and region.lead in together:
            shared = steps_of(region.lead) > 0
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


def shared_work(scheduled: Sequence[Scheduled], inside: Mapping[Node, float]) -> float:
    """About how long what threads share takes on one core, in nanoseconds; `inside` is that of a
    step of each loop."""
    total = 0.0
    for entry in scheduled:
        lead = entry.region.lead
        if lead is not None and lead.op in WITH_BODY:
            total += steps_of(lead) * inside[lead]
        elif entry.shared:
            total += cost(entry.region)
    return total


def useful_threads(work: float) -> int:
    """How many threads make a program faster whose threads share so much work: each has as much to
    do as one of the first two."""
    return max(1, int(min(2 * work / THREADS_FROM, 2.0**31)))
