"""First use: from a new process to a trained network, its memory, and the time of compiling."""

from __future__ import annotations

import statistics
import tempfile

from bench.processes import program
from bench.targets import Check, check

# What is compiled, under the name of its target: a step from nothing.
COMPILED = {
    "compile": "784-512-256-10, batch 128, sgd",
    "compile_gpt": "GPT 4 x 128, context 64, batch 16",
    "compile_gpt_12": "GPT 12 x 128, context 64, batch 16",
}
COUNTED = ("empty", "warm", "cpu_empty", "cpu_warm", "memory_empty", "memory_warm", *COMPILED)


def measure(peers: tuple[str, ...], rounds: int) -> dict:
    """Seconds and bytes, by round. A new folder is an empty cache; the second run finds it warm."""
    row: dict[str, list[float]] = {name: [] for name in COUNTED}
    program("digits")  # once: byte code, and the files in the system's memory
    if peers:
        row |= {"torch": [], "cpu_torch": [], "memory_torch": []}
        program("digits_torch")
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "warm"):
                seconds, told = program("digits", CHAINRULE_CACHE=folder)
                row[cache].append(seconds)
                row[f"cpu_{cache}"].append(told["cpu"])
                row[f"memory_{cache}"].append(told["peak"])
        for name, case in COMPILED.items():
            row[name].append(program("compiling", case, CHAINRULE_CACHE="off")[1]["seconds"])
        if peers:
            seconds, told = program("digits_torch")
            row["torch"].append(seconds)
            row["cpu_torch"].append(told["cpu"])
            row["memory_torch"].append(told["peak"])
    return row


def checks(row: dict) -> list[Check]:
    """The numbers against their targets; memory with an empty cache, where it is larger."""
    middle = {name: statistics.median(values) for name, values in row.items()}
    found = [
        check("digits from a new process, empty cache", "first_empty", middle["empty"]),
        check("digits from a new process, warm cache", "first_warm", middle["warm"]),
        check(f"compiling {COMPILED['compile']}", "compile", middle["compile"]),
        check(f"compiling {COMPILED['compile_gpt']}", "compile_gpt", middle["compile_gpt"]),
    ]
    ratio = middle["compile_gpt_12"] / middle["compile_gpt"]
    found.append(check("compiling 12 layers of the GPT over 4", "equal_blocks", ratio))
    if "memory_torch" in middle:
        ratio = middle["memory_torch"] / middle["memory_empty"]
        found.append(check("digits, peak memory", "memory", ratio))
    return found
