"""`chainrule explain`: one step in numbers that are right, confirmed, and add up as printed."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn
from chainrule.cli import main
from chainrule.cli.explain_subject import material
from chainrule.data import load
from chainrule.errors import ChainruleError, NonFiniteError, ShapeError, UsageError
from chainrule.observe.walkthrough import (
    AT_A_KINK,
    Block,
    Row,
    Walkthrough,
    aligned,
    check_lines,
    sections,
)
from chainrule.observe.walkthrough.decimals import Style, style_for, sum_texts
from chainrule.tracing.trees import leaves, map_leaves
from chainrule.training import train
from chainrule.training import walkthrough as room
from chainrule.training.differences import derivative
from chainrule.training.formulas import SLOPES, SlopeFormula
from chainrule.training.objective import Objective, objective
from chainrule.training.prepare import prepare
from chainrule.training.walkthrough import walk

START = nn.initialisers.normal(1.0)


def xor_net(seed: int = 0) -> nn.Sequential:
    dense = {"weight_init": START, "bias_init": START}
    net = nn.Sequential(nn.Dense(2, 2, **dense), nn.sigmoid, nn.Dense(2, 1, **dense), nn.sigmoid)
    return nn.init(net, seed=seed)


def walk_xor(row: int = 1, seed: int = 0, rate: float = 0.5) -> Walkthrough:
    data, net = load("xor"), xor_net(seed)
    goal = objective("squared_error", "binary", 1, net)
    return walk(net, data.x[row], data.y[row], goal, rate)


def walk_any(
    net: Any,
    x: Any,
    y: Any,
    loss: str = "squared_error",
    task: str = "regression",
    rate: float = 0.1,
) -> Walkthrough:
    net = nn.init(net, np.asarray(x, np.float32)[None], seed=2)
    outputs = net(np.asarray(x, np.float32)[None]).shape[-1]
    return walk(net, x, y, objective(loss, task, outputs, net), rate)


def blocks(walked: Walkthrough) -> list[Block]:
    return [block for s in sections(walked) for part in s.parts for block in part.blocks]


# --- the numbers ----------------------------------------------------------------------------


def by_numpy(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: float, rate: float) -> dict[str, Any]:
    """Backpropagation through a 2-2-1 network of sigmoid units, written out once more."""

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def error(w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        return 0.5 * (sigmoid(sigmoid(x @ w1 + b1) @ w2 + b2)[0] - t) ** 2

    z1 = x @ w1 + b1
    a1 = sigmoid(z1)
    z2 = a1 @ w2 + b2
    a2 = sigmoid(z2)
    d2 = (a2 - t) * a2 * (1 - a2)
    d1 = (w2 @ d2) * a1 * (1 - a1)
    g1, g2 = x[:, None] * d1, a1[:, None] * d2
    moved = (w1 - rate * g1, b1 - rate * d1, w2 - rate * g2, b2 - rate * d2)
    before, after = error(w1, b1, w2, b2), error(*moved)
    return {
        "z1": z1, "z2": z2, "a1": a1, "a2": a2, "d1": d1, "d2": d2, "g1": g1, "g2": g2,
        "moved": moved, "before": before, "after": after,
    }  # fmt: skip


@pytest.mark.tiny
@pytest.mark.parametrize("row", range(4))
def test_xor_equals_backpropagation_in_plain_numpy(row: int) -> None:
    """Sums, outputs, deltas, gradients, new weights and both errors are those of the formulas."""
    data = load("xor")
    weights = [leaf.value.astype(np.float64) for leaf in leaves(xor_net())]
    b1, w1, b2, w2 = weights if weights[0].ndim == 1 else (weights[i] for i in (1, 0, 3, 2))
    x, t = data.x[row].astype(np.float64), float(data.y[row])
    own, walked = by_numpy(w1, b1, w2, b2, x, t, 0.5), walk_xor(row)
    for layer, number in zip(walked.layers, "12", strict=True):
        for name, key in (("z", "z"), ("outputs", "a"), ("delta", "d"), ("weight_gradient", "g")):
            np.testing.assert_allclose(getattr(layer, name), own[key + number], rtol=1e-13)
    first, last = walked.layers
    found = (first.new_weight, first.new_bias, last.new_weight, last.new_bias)
    for ours, theirs in zip(found, own["moved"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    assert walked.loss_before == pytest.approx(own["before"], rel=1e-13)
    assert walked.loss_after == pytest.approx(own["after"], rel=1e-13)


NETS: dict[str, Callable[[], Any]] = {
    "tanh": lambda: nn.Sequential(nn.Dense(4), nn.tanh, nn.Dense(2)),
    "relu and dropout": lambda: nn.Sequential(
        nn.Dense(6, bias_init=START), nn.relu, nn.Dropout(0.5), nn.Dense(2)
    ),
    "no bias": lambda: nn.Sequential(nn.Dense(3, bias=False), nn.sigmoid, nn.Dense(2, bias=False)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Dense(3), nn.elu), nn.Sequential(nn.Dense(4), nn.gelu), nn.Dense(2)
    ),
    "two functions": lambda: nn.Sequential(nn.Dense(3), nn.tanh, nn.softplus, nn.Dense(2)),
    "own function": lambda: nn.Sequential(nn.Dense(3), lambda z: z * np.sin(z), nn.Dense(2)),
    "a single layer": lambda: nn.Dense(2),
    "flat first": lambda: nn.Sequential(nn.Flatten(), nn.Dense(3), np.tanh, nn.Dense(2)),
}
ROW, TARGET = np.array([0.4, -1.2, 0.9]), np.array([0.3, -0.8])


@pytest.mark.parametrize("name", NETS)
def test_deltas_and_gradients_equal_those_of_grad(name: str) -> None:
    """For every kind of network the hand-made gradients are those of `cr.grad` of the same net."""
    net = nn.init(NETS[name](), ROW[None].astype(np.float32), seed=2)
    walked = walk(net, ROW, TARGET, objective("squared_error", "regression", 2, net), 0.1)
    exact = map_leaves(lambda leaf: leaf.astype(np.float64), net)
    found = cr.grad(lambda net: 0.5 * np.sum((net(ROW[None])[0] - TARGET) ** 2))(exact)
    gradients = {leaf.name: leaf.value for leaf in leaves(found)}
    assert len(gradients) == sum(1 + (layer.bias is not None) for layer in walked.layers)
    for layer in walked.layers:
        stem = f"{layer.name}." if layer.name else ""
        weight = gradients[f"{stem}weight"]
        np.testing.assert_allclose(layer.weight_gradient, weight, rtol=1e-11, atol=1e-14)
        if layer.bias is not None:
            delta = gradients[f"{stem}bias"]
            np.testing.assert_allclose(layer.delta, delta, rtol=1e-11, atol=1e-14)
    assert walked.loss_after < walked.loss_before


@pytest.mark.parametrize("name", NETS)
def test_every_gradient_of_a_small_net_has_its_numeric_partner(name: str) -> None:
    """All weights are checked, each against differences of this test's own: agreed, to 1e-7."""
    net = nn.init(NETS[name](), ROW[None].astype(np.float32), seed=2)
    walked = walk(net, ROW, TARGET, objective("squared_error", "regression", 2, net), 0.1)
    exact = map_leaves(lambda leaf: leaf.astype(np.float64), net)
    arrays = {leaf.name: leaf.value for leaf in leaves(exact)}
    checked = 0
    for layer in walked.layers:
        if not layer.complete:
            assert name == "relu and dropout"
        for check in layer.checks:
            stem = f"{layer.name}." if layer.name else ""
            array = arrays[stem + ("bias" if check.source is None else "weight")]
            place = (check.unit,) if check.source is None else (check.source, check.unit)
            assert array[place] == check.weight
            losses = []
            for h in (1e-6, -1e-6):
                array[place] = check.weight + h
                losses.append(0.5 * np.sum((exact(ROW[None])[0] - TARGET) ** 2))
            array[place] = check.weight
            # Two-point differences at this step are good to about 1e-9.
            assert check.numeric == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)
            assert check.verdict == "yes"
            checked += 1
    if all(layer.complete for layer in walked.layers):
        assert checked == nn.count(net)
    assert walked.difference < 1e-7 * walked.largest_gradient
    assert "every gradient agrees with its numeric derivative to within 1e-7" in check_lines(walked)


LOSSES = [
    ("squared_error", "regression", [0.3, -0.8]),
    ("mean_squared_error", "regression", [0.3, -0.8]),
    ("mean_absolute_error", "regression", [0.3, -0.8]),
    ("huber", "regression", [0.3, -3.0]),
    ("cross_entropy", "multiclass", 1),
    ("hinge", "multiclass", 1),
]


@pytest.mark.parametrize(("loss", "task", "target"), LOSSES)
def test_every_loss_can_be_walked_through(loss: str, task: str, target: Any) -> None:
    """The error's formula, its slope and its parts fit each of the library's losses."""
    y = np.asarray(target)
    walked = walk_any(nn.Sequential(nn.Dense(4), nn.tanh, nn.Dense(2)), ROW, y, loss, task)
    assert {check.verdict for check in walked.checks} == {"yes"}
    if walked.error.terms is not None:
        assert walked.error.terms.sum() == pytest.approx(walked.loss_before, rel=1e-12)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_binary_cross_entropy_in_both_tails(target: int, scale: float) -> None:
    """Also where a probability is 1 to all its digits, the slope and the printed loss are right."""
    net = nn.Dense(3, 1, bias=False, weight=np.full((3, 1), scale))
    goal = objective("binary_cross_entropy", "binary", 1, net)
    walked = walk(net, np.array([0.5, 0.25, 0.5]), np.int64(target), goal, 0.1)
    p = 1 / (1 + np.exp(-scale * 1.25))
    assert walked.layers[0].delta[0] == pytest.approx(-np.exp(-scale * 1.25) * p if target else p)
    [line] = [note for note in sections(walked)[1].parts[0].notes if "loss is" in note]
    assert line.endswith(f"{walked.loss_before:.5g}")
    if target and scale > 1:
        assert "-log(1 - 5.176e-17)" in line
        assert "tiny" in check_lines(walked)[1]


# --- what is printed ------------------------------------------------------------------------


def number(text: str) -> Decimal:
    return Decimal(text.strip())


def check_sums(block: Block) -> int:
    """Adds up every column that has a total; how many there were."""
    totals = [place for place, row in enumerate(block.rows) if row.total]
    for place in totals:
        for column, cell in enumerate(block.rows[place].cells):
            if cell:
                above = [row.cells[column] for row in block.rows[:place]]
                assert sum(number(c) for c in above if c) == number(cell), block
    return len(totals)


def check_products(block: Block) -> None:
    """Each printed product is that of the printed factors, to the digits that are printed."""
    for row in block.rows:
        factors = [
            c
            for c, sign in zip(row.cells, ("×", *block.signs[1:]), strict=True)
            if c and sign == "×"
        ]
        equals = [i for i, sign in enumerate(block.signs) if sign == "="]
        if len(factors) >= 2 and equals and all(row.cells):
            product = number(row.cells[equals[0]])
            exact = Decimal(1)
            room_for_rounding = Decimal(0)
            values = [number(f) for f in factors]
            for value in values:
                exact *= value
            for place, value in enumerate(values):
                others = Decimal(1)
                for other in values[:place] + values[place + 1 :]:
                    others *= abs(other)
                room_for_rounding += others * abs(Decimal(5).scaleb(value.as_tuple().exponent - 1))
            last_digit = Decimal(1).scaleb(product.as_tuple().exponent)
            assert abs(product - exact) <= 2 * last_digit + 2 * room_for_rounding, row


STORIES: dict[str, Callable[[], Walkthrough]] = {
    "xor": walk_xor,
    "xor, another row": lambda: walk_xor(3, seed=5),
    "digits": lambda: walk_any(
        nn.mlp(10, (128, 64)),
        load("digits").x[17],
        load("digits").y[17],
        "cross_entropy",
        "multiclass",
    ),
    "many outputs": lambda: walk_any(
        nn.mlp(40, (7,), "tanh"), np.linspace(-1, 1, 30), np.linspace(0, 3, 40)
    ),
    "large numbers": lambda: walk_any(nn.Dense(2), ROW * 1e5, TARGET * 1e7, rate=1e-12),
    "tiny numbers": lambda: walk_any(nn.Dense(2), ROW * 1e-5, TARGET * 1e-6),
}


@pytest.mark.parametrize("story", STORIES)
def test_printed_sums_add_up_exactly(story: str) -> None:
    """Adding what is printed gives what is printed, to the last digit, with what is left out."""
    walked = STORIES[story]()
    assert sum(check_sums(block) for block in blocks(walked)) >= len(walked.layers) + 1
    for block in blocks(walked):
        check_products(block)


@pytest.mark.parametrize("story", STORIES)
def test_printed_updates_are_old_minus_step(story: str) -> None:
    """old - step = new, as printed; and the step is the learning rate times the gradient."""
    walked = STORIES[story]()
    tables = [block for block in blocks(walked) if block.columns[1:] == ("old", "step", "new")]
    assert len(tables) == len(walked.layers)
    for table, layer in zip(tables, walked.layers, strict=True):
        for row, check in zip(table.rows, layer.checks, strict=True):
            old, step, new = map(number, row.cells)
            assert old - step == new
            digit = float(Decimal(1).scaleb(old.as_tuple().exponent))
            assert abs(float(step) - walked.learning_rate * check.gradient) <= 0.51 * digit


@given(
    st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=1, max_size=12),
    st.integers(0, 6),
)
def test_rounded_terms_add_up(terms: list[float], decimals: int) -> None:
    """Whatever the terms, the texts add up, each within a last digit of its number, and zeros
    and the terms that are fixed stay what they are."""
    style = Style(decimals)
    texts, total = sum_texts(terms, sum(terms), style, fixed={0})
    assert sum(number(text) for text in texts) == number(total)
    digit = 10.0**-decimals
    for term, text in zip(terms, texts, strict=True):
        assert abs(float(text) - term) <= 1.5 * digit + 1e-9
        assert term != 0 or float(text) == 0
    assert texts[0] == style.write(terms[0])
    assert "-0" not in {t.rstrip("0").rstrip(".") for t in [*texts, total]}


@given(st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=8))
def test_a_column_keeps_its_digits_and_its_points(values: list[float]) -> None:
    """The largest number of a column has at least five digits, and decimal points are aligned."""
    style = style_for(values)
    texts = [style.write(value) for value in values]
    largest = max(values, key=abs)
    assert float(style.write(largest)) == pytest.approx(largest, rel=1e-4, abs=0)
    points = {text.index(".") for text in aligned(texts) if "." in text}
    assert len(points) <= 1


# --- kinks, disagreement, faults ------------------------------------------------------------


def test_a_kink_is_told_apart_from_a_mistake() -> None:
    """relu at a sum of exactly 0: the numeric derivative is the mean of both sides, and said so."""
    first = nn.Dense(1, 1, weight=np.zeros((1, 1)), bias=np.zeros(1))
    last = nn.Dense(1, 1, weight=np.ones((1, 1)), bias=np.zeros(1))
    net = nn.Sequential(first, nn.relu, last)
    goal = objective("mean_squared_error", "regression", 1, net)
    walked = walk(net, np.array([1.0]), np.array([1.0]), goal, 0.1)
    kinks = [check for check in walked.checks if check.verdict == AT_A_KINK]
    assert [(check.gradient, round(check.numeric, 5)) for check in kinks] == [(0, -1)] * 2
    assert "2 of 4 gradients agree" in check_lines(walked)[0]
    notes = [note for part in sections(walked)[2].parts for note in part.notes]
    assert any(note.startswith("kink: ") for note in notes)


def test_a_gradient_that_is_wrong_is_called_wrong() -> None:
    """A loss whose graph holds something constant that is not: each gradient is marked NO."""

    def half_hidden(outputs: Any, targets: Any) -> Any:
        error = outputs - targets
        return np.mean(error * cr.stop_gradient(error))

    net = nn.init(nn.Dense(3, 1), seed=1)
    goal = Objective("half_hidden", half_hidden, "regression", 1, False)
    walked = walk(net, ROW, np.array([2.0]), goal, 0.1)
    assert {check.verdict for check in walked.checks} == {"NO"}
    assert "4 of 4 gradients DO NOT agree" in check_lines(walked)[0]


def test_the_hand_made_pass_and_the_graph_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A formula that is wrong by a tenth of a percent stops everything, naming the weight."""
    wrong = SlopeFormula("wrong", lambda z, a: 1.001 * a * (1 - a))
    monkeypatch.setitem(SLOPES, nn.sigmoid, wrong)
    with pytest.raises(ChainruleError, match="by hand and the gradient of the graph differ") as e:
        walk_xor()
    assert e.value.where.startswith("layers.")


def test_numeric_derivatives_are_good_to_ten_digits() -> None:
    """Of smooth functions, of steep ones, and just beside a kink."""
    assert derivative(np.exp, 1.0) == pytest.approx(np.e, rel=1e-11)
    assert derivative(lambda x: np.tanh(50 * x), 0.01) == pytest.approx(
        50 / np.cosh(0.5) ** 2, rel=1e-8
    )
    assert derivative(lambda x: max(x, 0.0) ** 2 + max(x, 0.0), 1e-4) == pytest.approx(
        1.0002, rel=1e-9
    )


def test_too_large_a_step_is_said() -> None:
    """Where the error of the row grows, the walkthrough says that it did and why."""
    walked = walk_any(nn.Dense(2), ROW, TARGET, rate=10.0)
    assert walked.loss_after > walked.loss_before
    assert "learning rate is too large" in sections(walked)[3].parts[-1].about


# --- what cannot be walked through ----------------------------------------------------------


@dataclass(frozen=True)
class Doubling(nn.Layer):
    def forward(self, x: Any) -> Any:
        return 2 * x


REFUSED = {
    "BatchNorm": lambda: nn.Sequential(nn.Dense(3), nn.BatchNorm(), nn.Dense(2)),
    "Residual": lambda: nn.Sequential(nn.Residual(nn.Dense(3)), nn.Dense(2)),
    "Doubling": lambda: nn.Sequential(nn.Dense(3), Doubling(), nn.Dense(2)),
    "softmax": lambda: nn.Sequential(nn.Dense(3), nn.softmax, nn.Dense(2)),
    "tanh": lambda: nn.Sequential(nn.tanh, nn.Dense(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_refused_with_what_is_supported(name: str) -> None:
    """The error names the part and its place, and says which networks can be walked through."""
    with pytest.raises(UsageError, match=name) as refused:
        walk_any(REFUSED[name](), ROW, TARGET)
    assert refused.value.where.startswith("layers.")
    assert "nn.Dense" in refused.value.do


def test_what_does_not_fit_is_refused() -> None:
    """A bad rate, a row of another width, an overflow: an error each, before any number."""
    net = nn.init(nn.Dense(3, 2), seed=0)
    goal = objective("squared_error", "regression", 2, net)
    with pytest.raises(UsageError, match="learning rate is 0"):
        walk(net, ROW, TARGET, goal, 0)
    with pytest.raises(ShapeError, match="expects 3 inputs, and the row has 2"):
        walk(net, ROW[:2], TARGET, goal, 0.1)
    with pytest.raises(NonFiniteError, match="loss of this row is inf"):
        walk(net, ROW * 1e200, TARGET, goal, 0.1)
    with pytest.raises(UsageError, match="no weights yet"):
        walk(nn.Dense(3, 2), ROW, TARGET, goal, 0.1)
    with pytest.raises(ShapeError, match="2 input names"):
        walk(net, ROW, TARGET, goal, 0.1, input_names=["a", "b"])


# --- the command ----------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["explain", *words]) == code
    out, err = capsys.readouterr()
    return out, err


@pytest.mark.tiny
def test_explain_xor_walks_through_all_four_stages(capsys: pytest.CaptureFixture[str]) -> None:
    """Forward, Error, Backward, Update, the source of the setting, and the closing check."""
    out, err = run(capsys, "xor")
    places = [out.index(f"\n{name} ──") for name in ("Forward", "Error", "Backward", "Update")]
    assert places == sorted(places)
    assert "Rumelhart, Hinton and Williams 1986" in out
    assert "counted from 0" in out
    assert "every gradient agrees with its numeric derivative to within 1e-7" in out
    assert err == ""


def test_the_seed_draws_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed prints the same numbers, another seed others."""
    first, again = run(capsys, "xor", "--row", "1")[0], run(capsys, "xor", "--row", "1")[0]
    other, _ = run(capsys, "xor", "--row", "1", "--seed", "7")
    assert first == again
    assert first.replace("seed 0", "") != other.replace("seed 7", "")


@pytest.mark.parametrize("name", ["parity", "encoder", "symmetry", "spirals", "digits"])
def test_every_built_in_set_can_be_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, name, "--json")
    told = json.loads(out.splitlines()[-1])
    assert told["gradients"]["disagree"] == 0
    assert told["loss_after"] < told["loss_before"]


def test_json_holds_the_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One object on the last line: both losses, every layer, the largest difference, the page."""
    page = tmp_path / "xor.html"
    out, _ = run(capsys, "xor", "--row", "1", "--json", "--html", str(page))
    told, walked = json.loads(out.splitlines()[-1]), walk_xor(1)
    assert (told["subject"], told["row"], told["rows"]) == ("xor", 1, 4)
    assert told["loss_before"] == pytest.approx(walked.loss_before, rel=1e-6)
    assert told["loss_after"] == pytest.approx(walked.loss_after, rel=1e-6)
    assert [layer["name"] for layer in told["layers"]] == ["layers.0", "layers.2"]
    for layer, own in zip(told["layers"], walked.layers, strict=True):
        for key, array in (("z", own.z), ("a", own.outputs), ("delta", own.delta)):
            np.testing.assert_allclose(layer[key], array, rtol=1e-6)
    assert told["gradients"]["checked"] == 9
    assert told["gradients"]["max_difference"] < told["gradients"]["tolerance"]
    assert told["html"] == str(page)
    assert page.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("subject", ["xor", "digits"])
def test_no_line_is_wider_than_the_terminal(
    subject: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any width the sections are whole; wide screens use their width."""
    monkeypatch.setenv("COLUMNS", str(width))
    out, _ = run(capsys, subject)
    longest = max(len(line) for line in out.splitlines())
    assert longest <= width
    assert width < 100 or longest > 100 or subject == "xor"
    assert "yes" in out
    assert not re.search("\x1b", out), "no colour where stdout is no terminal"


def test_long_and_wide_names_are_shortened_in_the_middle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that do not fit lose their middle, and letters of double width count as two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    head = f"{'very long name ' * 6}one,{'長い名前' * 12}二,{'target ' * 9}"
    rows = "".join(f"{i * 7 % 5},{i},{i * i}.5\n" for i in range(30))
    Path("t.csv").write_text(f"{head}\n{rows}", encoding="utf-8")
    net, target = nn.Sequential(nn.Dense(2), nn.tanh, nn.Dense(1)), ("target " * 9).strip()
    train(net, "t.csv", target=target, epochs=1, run_dir="run", progress=False)
    out, _ = run(capsys, "run", "--row", "5")
    tables = out[out.index("Forward ─") :].splitlines()
    assert max(len(line) + sum(ord(c) > 0x3000 for c in line) for line in tables) <= 60
    assert re.search("very lo.*….*e one  ", out)
    columns = [
        line.index("×") + sum(ord(c) > 0x3000 for c in line)
        for line in tables
        if "長" in line and "×" in line
    ]
    assert len(columns) >= 2
    assert len(set(columns)) <= 2, "one column for each of the two kinds of table"


def test_a_terminal_without_the_letters_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ASCII, × is x and the rules are hyphens; nothing is escaped or lost."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["explain", "xor", "--row", "1"]) == 0
    stream.flush()
    out = stream.buffer.getvalue().decode("ascii")
    assert "0 x -0." in out
    assert "Forward ---" in out
    assert "\\x" not in out
    assert "?" not in out


def test_rows_are_counted_from_zero(capsys: pytest.CaptureFixture[str]) -> None:
    """A row that does not exist is answered with how many there are."""
    run(capsys, "xor", "--row", "3")
    _, err = run(capsys, "xor", "--row", "4", code=2)
    assert "xor has 4 rows, so there is no row 4" in err
    assert "from 0 to 3" in err
    assert "Traceback" not in err


def test_an_unknown_subject_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, err = run(capsys, "xro", code=2)
    assert "did you mean 'xor'" in err
    _, err = run(capsys, "runs/none-001", code=1)
    assert "not a run directory" in err


# --- runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "runs" / "digits-001"
    net = nn.Sequential(nn.Dense(24), nn.relu, nn.Dropout(0.2), nn.Dense(10))
    optimizer = cr.optim.adam(2e-3)
    train(net, "digits", optimizer=optimizer, epochs=3, run_dir=path, progress=False)
    return path


def test_a_trained_run_is_explained_on_its_own_row(
    digits_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN --row 17: the trained weights, the run's loss and rate, the row of its own data."""
    out, _ = run(capsys, str(digits_run), "--row", "17", "--json")
    told = json.loads(out.splitlines()[-1])
    net, data = nn.load(digits_run / "net.safetensors"), load("digits")
    exact = map_leaves(lambda leaf: leaf.astype(np.float64), net)
    logits = exact(data.x[17:18].astype(np.float64))[0]
    np.testing.assert_allclose(told["layers"][-1]["z"], logits, rtol=1e-12)
    loss = np.log(np.exp(logits).sum()) - logits[data.y[17]]
    assert told["loss_before"] == pytest.approx(loss, rel=1e-9)
    assert told["learning_rate"] == pytest.approx(2e-3)
    assert told["loss"] == "cross_entropy"
    assert told["rows"] == 1797
    monkeypatch.chdir(digits_run.parent.parent)
    text, _ = run(capsys, "digits-001", "--row", "17")  # by its name in runs/
    assert f"target   {data.y[17]}" in text
    assert "17 of 1,797, counted from 0" in text
    assert "that of the run's adam" in re.sub(r"\s+", " ", text)
    assert re.search(r"and 59 more +-?0\.\d+", text)


def test_the_default_row_is_the_one_most_wrong(
    digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --row, the row with the largest loss, and it is said why."""
    told = json.loads(run(capsys, str(digits_run), "--json")[0].splitlines()[-1])
    net, data = nn.load(digits_run / "net.safetensors"), load("digits")
    logits = np.asarray(net(data.x))
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), data.y]
    assert told["row"] == int(np.argmax(losses))
    assert "most wrong" in re.sub(r"\s+", " ", run(capsys, str(digits_run))[0])


def test_it_is_said_whether_the_network_was_trained_on_the_row(digits_run: Path) -> None:
    """The rows that the command calls held out are those that the run held out."""
    held_out = prepare("digits", None, None, 0, None).held_out_rows
    assert material(str(digits_run), 0).held_out == frozenset(held_out.tolist())


TABLE = "size (m2),kind <b>,price\n" + "".join(
    f"{20 + 3 * i},{'flat' if i % 3 else 'house'},{1000 + 50 * i + 7 * (i % 5)}.5\n"
    for i in range(40)
)


@pytest.fixture
def table_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("homes.csv").write_text(TABLE, encoding="utf-8")
    net = nn.Sequential(nn.Dense(4), nn.tanh, nn.Dense(1))
    options = {"epochs": 2, "run_dir": "runs/homes", "progress": False}
    train(net, "homes.csv", target="price", **options)
    return tmp_path


def test_a_row_of_a_table_is_told_in_its_own_columns(
    table_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and values as they stand in the table; the target in its own units and as learned."""
    out, _ = run(capsys, "runs/homes", "--row", "6")
    held_out = prepare("homes.csv", "price", None, 0, None).held_out_rows
    assert material("runs/homes", 0).held_out == frozenset(held_out.tolist())
    words = re.sub(r"\s+", " ", out)
    assert "size (m2) = 38, kind <b> = house" in words
    assert "price 1307.5" in words
    assert "t is (price - " in words
    assert "kind <b>=house" in out
    assert "held out" in words or "one of those the network was trained on" in words


def test_a_row_of_a_series_names_its_columns_and_moments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs by column and by how long ago, outputs by how far ahead, the target in its unit."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{round(100 + 9 * math.sin(i), 2)},{i % 7}\n" for i in range(60))
    Path("visits.csv").write_text("visits,day\n" + lines, encoding="utf-8")
    source = cr.data.Forecast("visits.csv", "visits", horizon=2, window=3)
    net = nn.Sequential(nn.Flatten(), nn.Dense(2))
    train(net, source, epochs=1, run_dir="runs/visits", progress=False)
    words = re.sub(r"\s+", " ", run(capsys, "runs/visits", "--row", "0")[0])
    assert re.search(r"visits t-2 = \S+ day t-2 = .* visits t = \S+ day t = \S+ target", words)
    assert "visits t+1" in words
    assert "target visits 101.27 93.19" in words


def test_a_row_of_words_shows_its_text_and_the_words_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the hundreds of words that it has not."""
    monkeypatch.chdir(tmp_path)
    rows = ["how good it was,yes", "how bad it was,no", "nothing but good,yes", "so bad,no"] * 6
    Path("said.csv").write_text("body,liked\n" + "\n".join(rows) + "\n", encoding="utf-8")
    source = cr.data.TextTable("said.csv", target="liked", text="body")
    train(nn.Dense(1), source, epochs=1, run_dir="runs/said", progress=False)
    words = re.sub(r"\s+", " ", run(capsys, "runs/said", "--row", "3")[0])
    assert "text 'so bad'" in words
    assert re.search(r"values body: bad = [\d.]+, body: so = [\d.]+ target no", words)


def test_a_table_that_is_gone_or_changed_is_said(
    table_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run keeps no rows: without the table an error, with another one a remark."""
    other = TABLE.replace("1000.5", "1001.5")
    Path("homes.csv").write_text(other, encoding="utf-8")
    out, _ = run(capsys, "runs/homes", "--row", "6")
    assert "homes.csv has changed since the run was trained on it" in out
    Path("homes.csv").unlink()
    _, err = run(capsys, "runs/homes", "--row", "6", code=1)
    assert "homes.csv, is not there any more" in err
    assert "do:" in err


def test_the_rate_of_a_schedule_is_that_of_the_middle_of_the_run(tmp_path: Path) -> None:
    """A rate that warms up from 0 and decays to 0 is explained where it is at work."""
    rate = cr.optim.schedules.warmup(4, cr.optim.schedules.cosine(0.2, 16))
    optimizer = cr.optim.chain(cr.optim.clip_by_value(1.0), cr.optim.sgd(rate))
    options = {"optimizer": optimizer, "epochs": 20, "batch_size": None, "progress": False}
    train(nn.mlp(1, (2,), "tanh"), "xor", run_dir=tmp_path / "run", **options)
    found = material(str(tmp_path / "run"), 0).learning_rate
    assert found == pytest.approx(float(rate(np.asarray(10, np.int32), np.float64)), rel=1e-6)
    assert 0 < found < 0.2


def test_a_run_on_arrays_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays are not kept with a run, and the error says how to go on in Python."""
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    train(nn.Dense(1), (x, x[:, 0] * 2.5), epochs=1, run_dir=tmp_path / "run", progress=False)
    _, err = run(capsys, str(tmp_path / "run"), code=2)
    assert "trained on arrays" in err
    assert "walkthrough.walk" in err


def test_a_run_of_another_network_is_told_by_layers_and_others_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A net that is not dense has no single sums; a damaged run and an own loss are errors."""
    net = nn.Sequential(nn.Dense(4), nn.BatchNorm(), nn.Dense(1))
    train(net, "xor", epochs=1, run_dir=tmp_path / "norm", progress=False)
    out, _ = run(capsys, str(tmp_path / "norm"))
    assert re.search(r"layers\.1 +BatchNorm 4", out)
    assert "6 of 6 gradients agree" in out
    shutil.copytree(tmp_path / "norm", tmp_path / "cut")
    (tmp_path / "cut" / "net.safetensors").write_bytes(b"")
    _, err = run(capsys, str(tmp_path / "cut"), code=1)
    assert "net.safetensors" in err

    def own(outputs: Any, targets: Any) -> Any:
        return np.mean((outputs[:, 0] - targets) ** 2)

    train(nn.Dense(1), "xor", loss=own, epochs=1, run_dir=tmp_path / "own", progress=False)
    _, err = run(capsys, str(tmp_path / "own"), code=2)
    assert "a function of its own" in err


def test_rows_of_tables_are_marked_as_totals_only_where_they_are() -> None:
    """A guard of the tests above: they find totals by their mark, and every sum has one."""
    rows = [row for block in blocks(walk_xor()) for row in block.rows]
    assert [row.label for row in rows if row.total] == ["z", "z", "z", "E", "after"]
    assert all(isinstance(row, Row) for row in rows)
    assert room.walk is walk
