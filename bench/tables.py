"""The results as Markdown: every row with what was asked, and whether it was reached."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench import busy, first, fit, growth, steps
from bench.processes import OURS, PEERS
from bench.targets import Check

TITLES = {
    OURS: "chainrule",
    "torch_eager": "PyTorch",
    "torch_channels_last": "PyTorch, channels last",
    "torch_compiled": "torch.compile",
    "jax_step": "JAX, a dispatch a step",
    "jax_scan": "JAX, scan",
    "fit_ours": "`cr.train`",
    "fit_sklearn": "`MLPClassifier.fit`",
}
MISSING = "–"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{_digits(seconds / size)} {unit}"
    raise AssertionError


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median, and the range."""
    middle, low, high = (_digits(f(values)) for f in (statistics.median, min, max))
    return f"{middle} ({low} to {high})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _asked(checks: Sequence[Check], what: str) -> str:
    return next((c.shown() for c in checks if c.what == what), MISSING)


# What is asked of a training step: its name among the targets, and the heading of what is measured.
STEP = {
    "best": "over the best peer",
    "torch": "over PyTorch",
    "share": "share of peak",
    "memory": "PyTorch's peak memory over ours",
}
# The tables of steps: title, what is asked, and whether it is that of dense networks.
TABLES = (
    ("training step, float32", ("best", "torch", "share"), True),
    ("training step, Adam, float32", ("best", "share", "memory"), False),
)


def steps_table(title: str, asked: Sequence[str], rows: Sequence[dict]) -> str:
    """Training steps, a line for each; peers that have a part in none are not in it."""
    names = [n for n in (OURS, *PEERS) if any(n in row["seconds"] for row in rows)]
    header = [title, *(TITLES[n] for n in names), "GFLOP/s"]
    for what in asked:
        header += [STEP[what], "asked"]
    return table(header, [step_row(row, names, asked) for row in rows])


def step_row(row: dict, names: Sequence[str], asked: Sequence[str]) -> list[str]:
    """A training step's line."""
    found = steps.checks(row)
    cells = [row["case"]]
    for name in names:
        times = row["seconds"].get(name)
        absent = row["left_out"].get(name, MISSING)
        cells.append(duration(statistics.median(times)) if times else absent)
    cells.append(_digits(row["flops"] / statistics.median(row["seconds"][OURS]) / 1e9))
    for what in asked:
        cells += [_measured(row, what), _asked(found, what)]
    return cells


def step_line(row: dict) -> str:
    """A training step in one line, while the benchmark runs."""
    asked = next(asked for _, asked, dense in TABLES if dense == row["dense"])
    return " | ".join(step_row(row, [n for n in (OURS, *PEERS) if n in row["seconds"]], asked))


def _measured(row: dict, what: str) -> str:
    if what == "share":
        return f"{100 * statistics.median(row['share']):.0f} %"
    if what == "memory":
        told = row.get("memory", {})
        return f"{told['torch_eager'] / told[OURS]:.2f}" if "torch_eager" in told else MISSING
    key = f"over_{what}"
    return spread(row[key]) if key in row else MISSING


def _fit(row: dict) -> str:
    lines = [
        [TITLES[n], duration(statistics.median(times)), f"{100 * row['accuracy'][n]:.1f} %"]
        for n, times in row["seconds"].items()
    ]
    text = table(["digits, 20 epochs, not the first call", "time", "held-out accuracy"], lines)
    if "ratio" in row:
        asked = _asked(fit.checks(row), "fit")
        text += f"\nRatio: {spread(row['ratio'])}; asked: {asked}.\n"
    return text


def _busy(rows: Sequence[dict]) -> str:
    return "\n".join(_busy_table(row) for row in rows)


def _busy_table(row: dict) -> str:
    lines = []
    checked = busy.checks([row])
    for name, slowdown in row["slowdown"].items():
        times = [duration(statistics.median(row[when][name])) for when in ("alone", "beside")]
        asked = _asked(checked, "busy") if name == OURS else MISSING
        lines.append([TITLES[name], *times, spread(slowdown), asked])
    title = f"{row['case']}, busy machine"
    return table([title, "alone", "beside another program", "times as long", "asked"], lines)


def _first(row: dict) -> str:
    found = first.checks(row)
    lines = []
    for name, title, what in (
        ("empty", "digits from a new process, empty cache", "first_empty"),
        ("warm", "digits from a new process, warm cache", "first_warm"),
        ("torch", "PyTorch, the same", ""),
        *((name, f"compiling {case}", name) for name, case in first.COMPILED.items()),
    ):
        if name in row:
            time = duration(statistics.median(row[name]))
            low, high = duration(min(row[name])), duration(max(row[name]))
            used = row.get(f"cpu_{name}")
            cpu = duration(statistics.median(used)) if used else MISSING
            lines.append([title, f"{time} ({low} to {high})", cpu, _asked(found, what)])
    if "compile_gpt" in row:
        ratio = next(c.value for c in found if c.what == "equal_blocks")
        asked = _asked(found, "equal_blocks")
        lines.append(["compiling 12 layers of the GPT over 4", f"{ratio:.2f}", MISSING, asked])
    for name, title in (
        ("memory_empty", "peak memory of digits, empty cache"),
        ("memory_warm", "peak memory of digits, warm cache"),
        ("memory_torch", "peak memory of PyTorch, the same"),
    ):
        if name in row:
            lines.append(
                [title, f"{statistics.median(row[name]) / 2**20:.0f} MiB", MISSING, MISSING]
            )
    if "memory_torch" in row:
        ratio = next(c.value for c in found if c.what == "memory")
        asked = _asked(found, "memory")
        lines.append(["PyTorch's over ours, empty cache", f"{ratio:.2f}", MISSING, asked])
    return table(["first use", "", "processor time", "asked"], lines)


def _growth(row: dict) -> str:
    lines = []
    for what, grown in row.items():
        for place, size in enumerate(grown["sizes"]):
            times = [
                duration(grown["seconds"][n][place]) if n in grown["seconds"] else MISSING
                for n in (OURS, "torch_eager", "jax_scan")
            ]
            compiled = duration(grown["compile"][place]) if "compile" in grown else MISSING
            weights = f"{grown['weights'][place]:,}"
            lines.append([f"{what} {size:,}", weights, *times, compiled])
    header = ["growth", "weights", *(TITLES[n] for n in (OURS, "torch_eager", "jax_scan"))]
    text = table([*header, "compiling"], lines)
    told = [f"{c.row}: {c.value:.2f}, asked: {c.shown()}" for c in growth.checks(row)]
    return text + "\n" + ".\n".join(told) + ".\n"


SECTIONS = {"fit": _fit, "busy": _busy, "first": _first, "growth": _growth}
CHECKS = {"fit": fit.checks, "busy": busy.checks, "first": first.checks, "growth": growth.checks}


def all_checks(results: dict) -> list[Check]:
    """Every number that has a target."""
    found = [c for row in results.get("steps", []) for c in steps.checks(row)]
    for name, judged in CHECKS.items():
        if name in results:
            found += judged(results[name])
    return found


def page(results: dict) -> str:
    """The whole page."""
    machine, versions = results["machine"], results["versions"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    quick = " (--quick: a look, not a measurement)" if results["quick"] else ""
    parts = [
        "# chainrule and its peers, side by side\n",
        f"{results['date']}{quick}; {machine['processor']}, {machine['threads']} threads, "
        f"{machine['memory'] / 2**30:.0f} GiB, {machine['system']}. {told}.\n\n"
        f"Medians of {results['rounds']} rounds; ratios within a round, with their range. "
        "`./run bench` measures them.\n",
    ]
    if results.get("steps"):
        for title, asked, dense in TABLES:
            rows = [row for row in results["steps"] if row["dense"] == dense]
            parts += [steps_table(title, asked, rows)] if rows else []
    parts += [section(results[n]) for n, section in SECTIONS.items() if n in results]
    missed = [c for c in all_checks(results) if not c.reached]
    parts.append(_missed(missed))
    return "\n".join(parts)


def _missed(missed: Sequence[Check]) -> str:
    if not missed:
        return "Every target that was measured is reached.\n"
    lines = [[c.row, c.what, _digits(c.value), c.shown()] for c in missed]
    return "Missed:\n\n" + table(["row", "what", "measured", "asked"], lines)
