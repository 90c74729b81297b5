"""`./run bench`: chainrule and its peers side by side.

Writes bench/results.json, bench/results.md and docs/pictures/bench.svg (what is not a whole run
goes to build/bench/), and ends with exit code 1 where a target of budgets.toml is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import busy, first, fit, growth, picture, steps, tables
from bench.cases import ARCHITECTURES, CASES, TINIES, Case
from bench.processes import PEERS, ROOT, THREADS, cores

ROUNDS = 7
QUICK_ROUNDS = 3
TRIALS = ROOT / "build" / "bench"  # what is not a whole run is never published by accident
SECTIONS = {"fit": fit, "busy": busy, "first": first, "growth": growth}
VERSIONED = ("chainrule", "llvmlite", "numpy", "torch", "jax", "jaxlib", "optax", "scikit-learn")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"rounds of each row (default {ROUNDS})")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="rows whose name has this text, or one of " + ", ".join(["steps", *SECTIONS, "tiny"]),
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, Adam only, no growth")
    parser.add_argument(
        "--peers", default="all", help="all, none, or some of " + ",".join(PEERS) + " (commas)"
    )
    parser.add_argument("--report-only", action="store_true", help="missed targets do not fail")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="instead of bench/ and docs/pictures/"
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing: write results anew")
    found = parser.parse_args(arguments)
    named = {"all": PEERS, "none": ()}
    found.peers = named.get(found.peers) or tuple(found.peers.split(","))
    if found.peers == ("none",):
        found.peers = ()
    unknown = set(found.peers) - set(PEERS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    whole = not (found.only or found.quick or found.peers != PEERS)
    found.output = found.output or (None if whole or found.draw else TRIALS)
    found.rounds = found.rounds or (QUICK_ROUNDS if found.quick else ROUNDS)
    return found


def about(rounds: int, quick: bool) -> dict:
    """When, on what, with which versions."""
    versions = {"Python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "used": cores(),
            "threads": THREADS,
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": os.getloadavg()[0],
        },
        "versions": versions,
        "rounds": rounds,
        "quick": quick,
    }


def _processor() -> str:
    """The name that the system gives it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(asked: argparse.Namespace) -> dict:
    """Everything that was asked for."""
    results = about(asked.rounds, asked.quick)
    if results["machine"]["load_before"] > THREADS / 4:
        print(f"the machine is busy: load {results['machine']['load_before']:.1f}", flush=True)
    results["steps"] = []
    for case in _cases(asked):
        results["steps"].append(steps.measure(case, asked.peers, asked.rounds))
        print(tables.step_line(results["steps"][-1]), flush=True)
    for name, section in SECTIONS.items():
        if name in asked.only if asked.only else not (asked.quick and name == "growth"):
            results[name] = section.measure(asked.peers, asked.rounds)
            print(tables.SECTIONS[name](results[name]), flush=True)
    return results


def _cases(asked: argparse.Namespace) -> list[Case]:
    """The cases asked for: all, or by a part of their name."""
    known = [*CASES, *ARCHITECTURES]
    if tiny := [c for c in TINIES if c.name in asked.only]:
        return tiny
    if asked.only and "steps" not in asked.only:
        texts = [text.lower() for text in asked.only]
        return [c for c in known if any(text in c.name.lower() for text in texts)]
    return [c for c in known if c.optimizer == "adam" or not asked.quick]


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    folder = asked.output or ROOT / "bench"
    pictures = asked.output or ROOT / "docs" / "pictures"
    if asked.draw:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    else:
        results = measure(asked)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(tables.page(results), encoding="utf-8")
    (pictures / "bench.svg").write_text(picture.draw(results), encoding="utf-8")
    print(f"written: {folder / 'results.md'}, {pictures / 'bench.svg'}")
    missed = [c for c in tables.all_checks(results) if not c.reached]
    for check in missed:
        print(f"missed: {check.row}: {check.what} is {check.value:.3g}, asked: {check.shown()}")
    return int(bool(missed) and not asked.report_only)


if __name__ == "__main__":
    sys.exit(main())
