"""`chainrule profile`: where a step's time goes, told, kept and drawn; the run stays as it was."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.cli.profile import _table
from chainrule.errors import DataError, UsageError
from chainrule.native import peak, target
from chainrule.native.available import missing
from chainrule.native.target import Processor
from chainrule.observe import Record
from chainrule.observe.profile import KernelTime, Profile, profile_text, read_profile
from chainrule.report import render_report, write_report

needs_clock = pytest.mark.skipif(
    missing() is not None or not peak.has_cycle_counter(), reason="kernels cannot be timed here"
)
TABLE = "width,height,kind\n" + "".join(
    f"{i % 7 + (i % 2) * 5},{i % 5},{'long' if i % 2 else 'short'}\n" for i in range(60)
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on a table, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    command = "train table.csv --target kind --hidden 64 --epochs 2 --quiet --run-dir run"
    assert main(command.split()) == 0
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@needs_clock
def test_the_parts_make_up_the_step_and_nothing_of_the_run_changes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    capsys.readouterr()
    assert main("profile run --seconds 0.05 --threads 1 --json".split()) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    parts = sum(kernel["seconds"] for kernel in told["kernels"])
    assert parts + told["waiting"] + told["around"] == pytest.approx(told["seconds"], rel=0.02)
    assert all(kernel["seconds"] >= 0 for kernel in told["kernels"])
    assert (told["threads"], told["batch"]) == (1, 16)
    assert told["steps"] > 10
    after = contents(run)
    kept = after.pop("profile.json")
    assert after == before
    assert json.loads(kept)["kernels"] == told["kernels"]


@needs_clock
def test_every_kernel_is_told_with_where_it_comes_from(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("profile run --seconds 0.02".split()) == 0
    shown = capsys.readouterr().out
    found = read_profile(run / "profile.json")
    assert found is not None
    products = [k for k in found.kernels if k.ops[0] == "contract"]
    stages = {(k.stage, k.layer) for k in products}
    assert {("forward", "layers.0"), ("forward", "layers.2"), ("backward", "layers.0")} <= stages
    first = next(k for k in products if (k.stage, k.layer) == ("forward", "layers.0"))
    assert first.flops >= 2 * found.batch * 2 * 64
    assert all(k.line for k in products)
    assert {"forward", "backward", "update"} <= {k.stage for k in found.kernels}
    for words in ("forward layers.0: contract", "GFLOP/s", "of peak", "waiting", "the loop around"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_wide_terminal_is_told_more() -> None:
    """The lines of the user's code, where there are any, and the bytes; a narrow one is cut."""
    for width, more in ((120, True), (80, False), (30, False)):
        lines = _table(PROFILE, width)
        assert ("x.py:1" in "\n".join(lines)) == ("bytes" in lines[0]) == more
        assert max(map(len, lines)) <= max(width, 60)
        assert lines[2].startswith("backward: sum")  # the longest first
    assert "line" not in _table(replace(PROFILE, kernels=PROFILE.kernels[1:]), 120)[0]


@needs_clock
def test_a_terminal_of_another_alphabet_can_show_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main("profile run --seconds 0.02".split()) == 0
    out.flush()
    shown = out.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "\n------" in shown
    assert "?" not in shown


@needs_clock
def test_the_peak_is_that_of_whole_vectors() -> None:
    """Twice as many float32 fit into a register as float64, and no core of a machine that runs this
    makes fewer than a few in a nanosecond."""
    one = peak.peak_flops("f32", 1)
    assert one > 2e9
    assert 0.3 * one < peak.peak_flops("f64", 1) < 0.8 * one


@needs_clock
def test_the_report_shows_it_from_then_on(run: Path) -> None:
    assert main("profile run --seconds 0.02".split()) == 0
    assert 'id="profile"' not in (run / "report.html").read_text()
    assert main("report run".split()) == 0
    page = (run / "report.html").read_text()
    assert 'id="profile"' in page
    assert "waiting for other threads" in page


PROFILE = Profile(
    (
        KernelTime(
            "kernel 0", ("contract", "add"), "forward", "a", "x.py:1", 10**6, 10, True, 2e-5
        ),
        KernelTime("kernel 1", ("sum",), "backward", "", "", 0, 10, False, 6e-5),
    ),
    seconds=1e-4,
    waiting=1e-5,
    around=1e-5,
    steps=100,
    batch=32,
    threads=2,
    peak=1e11,
)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(profile_text(PROFILE))
    assert read_profile(path) == PROFILE
    assert [kernel.name for kernel in PROFILE.slowest()] == ["kernel 1", "kernel 0"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', "\xff", profile_text(PROFILE).replace("1e-05", '"a"')],
)
def test_what_is_no_profile_never_stands_in_the_way_of_a_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_bytes(text.encode("latin-1"))
    found = read_profile(tmp_path / "profile.json")
    assert found is None
    assert read_profile(tmp_path / "absent.json") is None
    write_report(Record(), tmp_path / "page.html", found)


def test_the_page_of_a_profile_draws_each_kernel() -> None:
    many = replace(PROFILE, kernels=PROFILE.kernels * 40)
    page = render_report(Record(), many)
    assert page.count('class="bar ') == 22  # twenty kernels, waiting, the loop around
    assert "The 60 kernels not drawn" in page


@needs_clock
def test_a_run_on_arrays_is_profiled_in_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    data = x, x.sum(axis=1)
    net = cr.nn.Sequential(cr.nn.Dense(8), cr.nn.tanh, cr.nn.Dense(1))
    where = tmp_path / "r"
    weights = np.linspace(0, 1, 50)
    run = cr.train(net, data, epochs=1, run_dir=where, sample_weights=weights, progress=False)
    found = run.profile(data, seconds=0.01)
    assert found == read_profile(where / "profile.json")
    assert cr.load_run(where).profile(data, seconds=0.01).batch == 32
    with pytest.raises(DataError, match="started with"):
        run.profile((x + 1, data[1]))
    assert main(["profile", str(where)]) == 2
    assert ".profile((X, y))" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no directory"):
        cr.train(net, data, epochs=1, progress=False).profile(data)


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        ("profile", 2, "RUN"),
        ("profile nowhere", 1, "not a run directory"),
        ("profile run --seconds 0", 2, "--seconds"),
        ("profile run --threads 0", 2, "--threads"),
        ("profile run missing.csv", 1, "missing.csv"),
        ("profile run other.csv", 1, "chainrule profile RUN PATH"),
    ],
)
def test_a_mistake_says_what_to_do(
    run: Path, capsys: pytest.CaptureFixture[str], command: str, code: int, part: str
) -> None:
    (run.parent / "other.csv").write_text(TABLE.replace("long", "tall"))
    assert main(command.split()) == code
    told = capsys.readouterr().err
    assert part in told
    assert "Traceback" not in told
    assert not (run / "profile.json").exists()


def test_data_that_have_gone_are_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parent / "table.csv").rename(run.parent / "moved.csv")
    assert main("profile run".split()) == 1
    assert "chainrule profile RUN PATH" in capsys.readouterr().err


@needs_clock
def test_where_no_program_may_read_the_counter_it_says_so(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = Processor("aarch64-unknown-linux-gnu", "generic", "+neon")
    monkeypatch.setattr(target, "processor", lambda: arm)
    assert main("profile run".split()) == 1
    assert "cycle counter" in capsys.readouterr().err


@needs_clock
def test_full_batch_methods_say_that_they_take_no_such_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They look for their steps in Python."""
    monkeypatch.chdir(tmp_path)
    dense = cr.nn.Sequential(cr.nn.Dense(3), cr.nn.tanh, cr.nn.Dense(1))
    options: dict[str, Any] = {"epochs": 1, "batch_size": None, "progress": False}
    cr.train(dense, "xor", optimizer=cr.optim.lbfgs(), run_dir="a", **options)
    assert main(["profile", "a"]) == 2
    assert "lbfgs" in capsys.readouterr().err


@needs_clock
def test_a_step_with_a_loop_in_it_is_profiled(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    data = random.normal(size=(40, 6, 3)).astype(np.float32), random.normal(size=40)
    net = cr.nn.Sequential(cr.nn.LSTM(4), cr.nn.Flatten(), cr.nn.Dense(1))
    run = cr.train(net, data, epochs=1, progress=False, run_dir=tmp_path / "run")
    found = run.profile(data, seconds=0.02)
    assert any(kernel.ops[0] == "scan" for kernel in found.kernels)
