"""Training steps: ours and the peers' in turns, the order changing from round to round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.cases import Case
from bench.networks import MLP
from bench.peers import left_out
from bench.processes import OURS, Worker, program, workers
from bench.targets import Check, load

CHECKED_STEPS = 8  # whose losses must agree
AGREEMENT = 1e-3  # relative: float32 sums in another order, after a few steps
TURN = 0.3  # seconds that a turn takes for everybody, about
FEWEST = 3  # steps of a turn, where a step is long
PEAK = "peak"


def rounds_of(found: dict[str, Worker], rounds: int) -> list[dict[str, float]]:
    """Seconds for a step, by peer, in each round. Who begins changes: a round that a neighbour
    disturbs in its middle does not always hit the same peer."""
    names, turns = list(found), []
    for number in range(rounds):
        first = number % len(names)
        order = names[first:] + names[:first]
        turns.append({name: found[name].ask(do="time")["seconds"] for name in order})
    return turns


def prepare(found: dict[str, Worker], case: Case, turn: float = TURN) -> dict[str, dict]:
    """Builds the case everywhere, compares the losses, and paces the turns."""
    first = {
        name: worker.ask(do="prepare", case=case.name, steps=CHECKED_STEPS)
        for name, worker in found.items()
    }
    for name, answer in first.items():
        if name != PEAK:
            compare(case, name, first[OURS]["losses"], answer["losses"])
    for name, worker in found.items():
        first[name]["steps"] = worker.ask(do="pace", seconds=turn, fewest=FEWEST)["steps"]
    return first


def compare(case: Case, peer: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Raises where the losses of the first steps differ: it would be other mathematics."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if not abs(a - b) <= AGREEMENT * max(abs(a), 1e-6):
            raise RuntimeError(f"{case.name}, step {step}: {peer} has loss {b}, ours is {a}")


def measure(case: Case, peers: tuple[str, ...], rounds: int) -> dict:
    """All peers that have a part in a case, and the machine's peak beside them."""
    absent = {name: why for name in peers if (why := left_out(name, case))}
    peers = tuple(name for name in peers if name not in absent)
    with workers((OURS, *peers, PEAK)) as found:
        first = prepare(found, case)
        turns = rounds_of(found, rounds)
    operations = first.pop(PEAK)["losses"][0]
    seconds = {name: [turn[name] for turn in turns] for name in (OURS, *peers)}
    peaks = [operations / turn[PEAK] for turn in turns]
    row = {
        "case": case.name,
        "group": case.group,
        "dense": isinstance(case.network, MLP),
        "flops": case.flops,
        "weights": case.network.weights_count,
        "left_out": absent,
        "seconds": seconds,
        "steps": {name: answer["steps"] for name, answer in first.items()},
        "first_seconds": {name: answer["first"] for name, answer in first.items()},
        "peak_flops": peaks,
        "share": [case.flops / turn[OURS] / peak for turn, peak in zip(turns, peaks, strict=True)],
    }
    if peers:
        # The best of a round, whoever it was: chance helps the peers here, never us.
        row["over_best"] = [min(turn[n] for n in peers) / turn[OURS] for turn in turns]
        row["best"] = min(peers, key=lambda n: statistics.median(seconds[n]))
    if "torch_eager" in peers:
        row["over_torch"] = [turn["torch_eager"] / turn[OURS] for turn in turns]
    if "memory" in load()["steps"].get(case.group, {}):
        names = (OURS, *(n for n in peers if n == "torch_eager"))
        row["memory"] = {name: _memory(name, case) for name in names}
    return row


def _memory(peer: str, case: Case) -> int:
    """The most bytes that a new process takes for some steps, compiling included."""
    return program("memory", peer, case.name, CHAINRULE_CACHE="off")[1]["peak"]


def checks(row: dict) -> list[Check]:
    """The row against its targets."""
    asked = load()["steps"].get(row["group"], {})
    found = []
    for what, key in (("best", "over_best"), ("torch", "over_torch"), ("share", "share")):
        if what in asked and key in row:
            value = statistics.median(row[key])
            found.append(Check(row["case"], what, value, asked[what]))
    if "memory" in asked and "torch_eager" in row.get("memory", {}):
        value = row["memory"]["torch_eager"] / row["memory"][OURS]
        found.append(Check(row["case"], "memory", value, asked["memory"]))
    return found
