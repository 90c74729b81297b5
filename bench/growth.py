"""How time grows: a step's with width, batch, depth and the number of distinct kernels, and
compiling with the latter two."""

from __future__ import annotations

import math
import statistics

from bench.cases import GROWTH, Case
from bench.processes import OURS, program, workers
from bench.steps import prepare, rounds_of
from bench.targets import Check, check

TURN = 0.15
MOST_ROUNDS = 3  # the picture's axes span factors of thousands
COMPILED = ("depth", "kernels")


def measure(peers: tuple[str, ...], rounds: int) -> dict:
    """For each thing that grows: sizes, weights, and by peer the seconds for a step; seconds to
    compile where layers are added."""
    found, rounds = {}, min(rounds, MOST_ROUNDS)
    for what, cases in GROWTH.items():
        times = [_steps(case, peers, rounds) for case in cases.values()]
        found[what] = {
            "sizes": list(cases),
            "weights": [case.network.weights_count for case in cases.values()],
            "flops": [case.flops for case in cases.values()],
            "seconds": {n: [t[n] for t in times] for n in times[0]},
        }
        if what in COMPILED:
            found[what]["compile"] = [_compile(case, rounds) for case in cases.values()]
    return found


def _steps(case: Case, peers: tuple[str, ...], rounds: int) -> dict[str, float]:
    names = (OURS, *(p for p in peers if p in ("torch_eager", "jax_scan")))
    print(f"  {case.name}", flush=True)
    with workers(names) as found:
        prepare(found, case, TURN)
        turns = rounds_of(found, rounds)
    return {name: statistics.median(turn[name] for turn in turns) for name in names}


def _compile(case: Case, rounds: int) -> float:
    told = [program("compiling", case.name, CHAINRULE_CACHE="off")[1] for _ in range(rounds)]
    return statistics.median(t["seconds"] for t in told)


def power(sizes: list[float], values: list[float]) -> float:
    """p of the values ~ sizes ** p, from the smallest to the largest: 1 is linear."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def checks(row: dict) -> list[Check]:
    """Compiling, against what is asked of it. From 10 layers on: what every program needs would
    hide the growth at fewer."""
    equal, distinct = row["depth"], row["kernels"]
    ratio = equal["compile"][-1] / equal["compile"][0]
    grown = power(distinct["sizes"][1:], distinct["compile"][1:])
    return [
        check(f"compiling {equal['sizes'][-1]} equal layers over 3", "equal_layers", ratio),
        check("compiling distinct layers, power of growth", "kernels", grown),
    ]
