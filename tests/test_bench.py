"""The benchmark's harness: targets, tables and the picture, and one tiny case end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

ROOT = Path(__file__).resolve().parent.parent

OTHERS = ("CNN 28x28x1, batch 8", "LSTM 32, 100 steps, batch 16")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the benchmark reads memory from /proc"
)


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _row(case: str, group: str, ours: float, dense: bool = True) -> dict:
    peers = ("torch_eager", "torch_compiled", "jax_step", "jax_scan")
    absent = {"torch_channels_last": "pictures only"}
    if "CNN" in case:
        peers, absent = (*peers, "torch_channels_last"), {}
    seconds = {"ours": [ours, ours * 1.1], **{n: [1e-2, 1.2e-2] for n in peers}}
    return {
        "case": case,
        "group": group,
        "dense": dense,
        "left_out": absent,
        "flops": 1e9,
        "weights": 10,
        "seconds": seconds,
        "share": [0.9, 0.8],
        "over_best": [1e-2 / ours, 1.1e-2 / ours],
        "over_torch": [1e-2 / ours, 1.1e-2 / ours],
        "memory": {"ours": 2e8, "torch_eager": 3e8},
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
            *(_row(name, name, ours, dense=False) for name in OTHERS),
        ],
        "fit": {
            "seconds": {"fit_ours": [0.1, 0.1], "fit_sklearn": [1.0, 1.2]},
            "accuracy": {"fit_ours": 0.97, "fit_sklearn": 0.96},
            "ratio": [10.0, 12.0],
        },
        "busy": [
            {
                "case": "a case",
                "alone": {"ours": [1e-4]},
                "beside": {"ours": [2e-4]},
                "slowdown": {"ours": [2.0]},
            }
        ],
        "first": {
            "empty": [1.5],
            "warm": [0.5],
            "compile": [0.8],
            "compile_gpt": [2.0],
            "compile_gpt_12": [2.2],
            "torch": [3.0],
            "memory_empty": [1e8],
            "memory_warm": [9e7],
            "memory_torch": [3e8],
        },
        "growth": {"depth": grown, "kernels": grown},
    }


def test_every_target_names_a_case_and_every_case_has_targets() -> None:
    """A target that no case is judged by would never be missed."""
    from bench.cases import ARCHITECTURES, CASES
    from bench.targets import load

    cases = [*CASES, *ARCHITECTURES]
    assert set(load()["steps"]) == {case.group for case in cases}
    assert len({case.name for case in cases}) == len(cases)
    assert (len(CASES), len(ARCHITECTURES)) == (13, 9)


def test_a_run_that_reaches_everything_says_so() -> None:
    from bench import tables

    results = _results(ours=1e-3)
    assert [c.what for c in tables.all_checks(results)] == [
        *("best", "torch", "share"),
        *("best", "memory"),
        *("best", "memory"),
        *("fit", "busy", "first_empty", "first_warm"),
        *("compile", "compile_gpt", "equal_blocks", "memory"),
        *("equal_layers", "kernels"),
    ]
    assert all(c.reached for c in tables.all_checks(results))
    page = tables.page(results)
    assert "Every target that was measured is reached." in page
    assert "missed" not in page
    cnn, lstm = (next(t for t in page.splitlines() if t.startswith(f"| {n}")) for n in OTHERS)
    assert "pictures only" in lstm
    assert "pictures only" not in cnn


def test_what_is_missed_is_told() -> None:
    from bench import tables

    results = _results(ours=9e-3)
    results["first"]["warm"] = [0.9]
    missed = [c.what for c in tables.all_checks(results) if not c.reached]
    assert missed == ["best", "torch", "best", "best", "first_warm"]
    assert "| digits from a new process, warm cache | first_warm | 0.9 | ≤ 0.7 **missed** |" in (
        tables.page(results)
    )


def test_the_picture_is_well_formed() -> None:
    from bench import picture

    drawn = ET.fromstring(picture.draw(_results(ours=1e-3)))
    told = "".join(drawn.itertext())
    for case in ("784-512-256-10, batch 128, sgd", *OTHERS):
        assert case in told
    assert "<P&Q>" in told


def test_losses_that_differ_stop_the_benchmark() -> None:
    from bench.cases import TINY
    from bench.steps import compare

    compare(TINY, "peer", [1.0, 0.5], [1.0, 0.5001])
    for other in (0.51, float("nan")):
        with pytest.raises(RuntimeError, match="step 1: peer has loss"):
            compare(TINY, "peer", [1.0, 0.5], [1.0, other])


TINY = ("tiny", "tiny CNN", "tiny LeNet", "tiny ResNet")
TINY += ("tiny rnn", "tiny gru", "tiny lstm", "tiny GPT")


@pytest.mark.parametrize("name", TINY)
def test_every_kind_of_network_takes_the_steps_that_its_layers_mean(name: str) -> None:
    """Its first loss is that of the layers in NumPy, and it has the weights that were given."""
    from bench.cases import TINIES, find
    from bench.peers.ours import Peer

    assert tuple(case.name for case in TINIES) == TINY
    case = find(name)
    peer = Peer(case)
    given = sorted(a.tobytes() for a in case.weights().values())
    assert sorted(a.tobytes() for a in cr.nn.parameters(peer.net).values()) == given
    assert cr.nn.count(peer.net) == case.network.weights_count
    x, y = case.data()
    rows = case.batches(8)
    with cr.nn.training():
        expected = cr.nn.losses.cross_entropy(peer.net(x[rows[0]]), y[rows[0]])
    losses = peer.run(rows)
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert len(losses) == 8
    assert np.isfinite(losses).all()


def test_operations_are_those_of_the_forward_pass_and_of_both_gradients() -> None:
    """By hand; of the first layer there is one gradient, but an embedding before it wants both. The
    product of an embedding is taken for each symbol, not for each place."""
    from bench.cases import ARCHITECTURES

    flops = {case.name: case.flops for case in ARCHITECTURES}
    first = 28 * 28 * 9 * 32
    cnn = first + 14 * 14 * 9 * 32 * 64 + 7 * 7 * 64 * 128 + 128 * 10
    assert flops["CNN 28x28x1, batch 64"] == 2 * 64 * (3 * cnn - first)
    lstm = 32 * 64 * (128 * 512 + 128 * 65) + 65 * 128 * 512
    assert flops["LSTM 128, 64 steps, batch 32"] == 2 * 3 * lstm
    block = 4 * 128 * 128 + 2 * 128 * 512 + 2 * 64 * 128
    assert flops["GPT 4 x 128, context 64, batch 16"] == 2 * 16 * 3 * 64 * (4 * block + 128 * 65)


def test_tiny_cases_run_without_peers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--peers", "none", "--only", "tiny"]
    command += ["--only", "tiny CNN", "--rounds", "1", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert [row["case"] for row in found["steps"]] == ["tiny", "tiny CNN"]
    for row in found["steps"]:
        assert row["seconds"]["ours"][0] > 0
        assert row["peak_flops"][0] > 1e8
    assert "| tiny CNN |" in (tmp_path / "results.md").read_text()
    assert "| tiny |" in (tmp_path / "results.md").read_text()
    assert ET.parse(tmp_path / "bench.svg").getroot() is not None


def test_the_readme_shows_the_published_results() -> None:
    """Its table, the page and the picture are those of bench/results.json, from a whole run."""
    from bench import picture, tables
    from bench.__main__ import in_readme

    results = json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert in_readme(readme, results) == readme
    assert (ROOT / "bench" / "results.md").read_text(encoding="utf-8") == tables.page(results)
    drawn = (ROOT / "docs" / "pictures" / "bench.svg").read_text(encoding="utf-8")
    assert drawn == picture.draw(results)
    assert not results["quick"]
    assert {"fit", "busy", "first", "growth"} <= results.keys()
