"""The benchmark's harness: targets, tables and the picture, and one tiny case end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the benchmark reads memory from /proc"
)


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _row(case: str, group: str, ours: float) -> dict:
    peers = ("torch_eager", "torch_compiled", "jax_step", "jax_scan")
    seconds = {"ours": [ours, ours * 1.1], **{n: [1e-2, 1.2e-2] for n in peers}}
    return {
        "case": case,
        "group": group,
        "flops": 1e9,
        "weights": 10,
        "seconds": seconds,
        "share": [0.9, 0.8],
        "over_best": [1e-2 / ours, 1.1e-2 / ours],
        "over_torch": [1e-2 / ours, 1.1e-2 / ours],
    }


def _results(ours: float) -> dict:
    """What a whole run would find, if a step of ours took so long and a peer's 10 ms."""
    grown = {"sizes": [3, 10, 100], "weights": [1, 2, 3], "flops": [1e6, 1e7, 1e8]}
    grown |= {"seconds": {"ours": [1e-5, 1e-4, 1e-3]}, "compile": [0.1, 0.1, 0.15]}
    return {
        "date": "2026-01-01",
        "machine": {"processor": "<P&Q>", "threads": 2, "memory": 2**34, "system": "Linux"},
        "versions": {"Python": "3.11"},
        "rounds": 2,
        "quick": False,
        "steps": [
            _row("784-512-256-10, batch 128, sgd", "784-512-256-10, batch 128", ours),
            _row("unasked", "", ours),
        ],
        "fit": {
            "seconds": {"fit_ours": [0.1, 0.1], "fit_sklearn": [1.0, 1.2]},
            "accuracy": {"fit_ours": 0.97, "fit_sklearn": 0.96},
            "ratio": [10.0, 12.0],
        },
        "busy": {
            "case": "a case",
            "alone": {"ours": [1e-4]},
            "beside": {"ours": [2e-4]},
            "slowdown": {"ours": [2.0]},
        },
        "first": {
            "empty": [1.5],
            "warm": [0.5],
            "compile": [0.8],
            "torch": [3.0],
            "memory_empty": [1e8],
            "memory_warm": [9e7],
            "memory_torch": [3e8],
        },
        "growth": {"depth": grown, "kernels": grown},
    }


def test_every_target_names_a_case_and_every_case_has_targets() -> None:
    """A target that no case is judged by would never be missed."""
    from bench.cases import CASES
    from bench.targets import load

    assert set(load()["steps"]) == {case.group for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES) == 13


def test_a_run_that_reaches_everything_says_so() -> None:
    from bench import tables

    results = _results(ours=1e-3)
    assert [c.what for c in tables.all_checks(results)] == [
        *("best", "torch", "share"),
        *("fit", "busy", "first_empty", "first_warm", "compile", "memory"),
        *("equal_layers", "kernels"),
    ]
    assert all(c.reached for c in tables.all_checks(results))
    page = tables.page(results)
    assert "Every target that was measured is reached." in page
    assert "missed" not in page


def test_what_is_missed_is_told() -> None:
    from bench import tables

    results = _results(ours=9e-3)
    results["first"]["warm"] = [0.9]
    missed = [c.what for c in tables.all_checks(results) if not c.reached]
    assert missed == ["best", "torch", "first_warm"]
    assert "| digits from a new process, warm cache | first_warm | 0.9 | ≤ 0.7 **missed** |" in (
        tables.page(results)
    )


def test_the_picture_is_well_formed() -> None:
    from bench import picture

    drawn = ET.fromstring(picture.draw(_results(ours=1e-3)))
    told = "".join(drawn.itertext())
    assert "784-512-256-10, batch 128, sgd" in told
    assert "<P&Q>" in told


def test_losses_that_differ_stop_the_benchmark() -> None:
    from bench.cases import TINY
    from bench.steps import compare

    compare(TINY, "peer", [1.0, 0.5], [1.0, 0.5001])
    for other in (0.51, float("nan")):
        with pytest.raises(RuntimeError, match="step 1: peer has loss"):
            compare(TINY, "peer", [1.0, 0.5], [1.0, other])


def test_a_tiny_case_runs_without_peers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--peers", "none", "--only", "tiny"]
    command += ["--rounds", "1", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    (row,) = found["steps"]
    assert row["seconds"]["ours"][0] > 0
    assert row["peak_flops"][0] > 1e8
    assert "| tiny |" in (tmp_path / "results.md").read_text()
    assert ET.parse(tmp_path / "bench.svg").getroot() is not None
