"""The page about a run: whole, safe, and sensible for every kind of run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_reader import Element, read_page
from report_records import (
    STORIES,
    classified,
    epochs,
    going_on,
    interrupted,
    matrix,
    measures,
    not_finite,
    regressed,
    started,
)

from chainrule.errors import FileError
from chainrule.observe import EpochEnded, Evaluated, NonFinite, Record, RunEnded, StepMeasured
from chainrule.report import render_report, write_report

EVIL = "<script>alert(1)</script>"
QUOTES = "\"><img src=x onerror='alert(1)'>&amp;"


def sections(page: Element) -> list[str]:
    return [one.attributes["id"] for one in page.all("section")]


def section(page: Element, name: str) -> Element:
    return next(one for one in page.all("section") if one.attributes["id"] == name)


@pytest.mark.parametrize("story", STORIES)
def test_every_kind_of_run_gives_a_whole_page(story: str) -> None:
    """Elements are closed in order, ids are unique, links within the page lead somewhere."""
    page = read_page(render_report(STORIES[story]))
    ids = [one.attributes["id"] for one in page.walk() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    links = [one.attributes["href"] for one in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize("story", STORIES)
def test_the_page_needs_nothing_else(story: str) -> None:
    """No script, no style attribute, no reference to anything outside the page."""
    page = read_page(render_report(STORIES[story]))
    for one in page.walk():
        assert one.name not in {"script", "img", "iframe", "object", "embed", "form", "base"}
        for name, value in one.attributes.items():
            assert name not in {"style", "src", "srcset", "action"}
            assert not name.startswith("on")
            assert "//" not in value or name == "content", (one.name, name, value)
            if "href" in name:
                assert value.startswith("#") or value == "data:,"
    style = page.all("style")[0].text
    assert not re.search(r"url\(|@import|expression|//", style)


@pytest.mark.parametrize("story", STORIES)
def test_the_browser_is_told_to_allow_only_our_style(story: str) -> None:
    """The policy forbids all but the one style sheet, which it names by its true hash."""
    page = read_page(render_report(STORIES[story]))
    policies = [
        one.attributes["content"]
        for one in page.all("meta")
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    (style,) = page.all("style")
    digest = hashlib.sha256("".join(style.texts).encode()).digest()
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert set(rules) == {"default-src", "style-src", "img-src", "base-uri", "form-action"}
    assert "unsafe" not in policies[0]


@pytest.mark.parametrize("story", STORIES)
def test_no_coordinate_is_not_a_number(story: str) -> None:
    """What cannot be drawn is left out, never written as nan or inf."""
    for svg in read_page(render_report(STORIES[story])).all("svg"):
        assert_finite(svg)


def assert_finite(svg: Element) -> None:
    for one in svg.walk():
        for name, value in one.attributes.items():
            if name not in {"aria-label", "class"}:
                assert not re.search("nan|inf", value), (one.name, name, value)


@pytest.mark.parametrize("story", STORIES)
def test_every_picture_has_a_label_and_its_numbers(story: str) -> None:
    """A screen reader gets a sentence, and a table holds what the picture shows."""
    page = read_page(render_report(STORIES[story]))
    for figure in page.all("figure"):
        (svg,) = figure.all("svg")
        assert svg.attributes["role"] == "img"
        assert len(svg.attributes["aria-label"]) > 10
        assert figure.all("figcaption")[0].all("h3")[0].text.strip()
        (details,) = figure.all("details")
        assert details.all("td")


@pytest.mark.parametrize(
    ("story", "wanted"),
    [
        ("classified", "result curves outcome layers trained configuration repeat"),
        ("binary", "banner result curves outcome layers trained configuration repeat"),
        ("regressed", "result curves outcome layers trained configuration repeat"),
        ("not finite", "banner result curves outcome layers trained configuration repeat"),
        ("interrupted", "banner result curves outcome layers trained configuration repeat"),
        ("going on", "banner result curves layers trained configuration repeat"),
        ("none held out", "result curves outcome layers trained configuration repeat"),
        ("nothing measured", "result curves outcome trained configuration repeat"),
        ("just begun", "banner result trained configuration repeat"),
        ("nothing known", "banner result trained configuration repeat"),
    ],
)
def test_each_kind_of_run_has_its_sections(story: str, wanted: str) -> None:
    """A section is there when there is something to show in it, and in reading order."""
    assert sections(read_page(render_report(STORIES[story]))) == wanted.split()


def test_the_result_comes_first_with_its_meaning() -> None:
    """The number a reader looks for is large, explained, and set against the simplest answer."""
    page = read_page(render_report(classified()))
    first = next(
        one for one in section(page, "result").all("div") if one.attributes.get("class") == "first"
    )
    assert first.all("dt")[0].text == "Accuracy"
    assert "91.2\u00a0%" in first.text
    assert "right class" in first.text
    assert "always answering “class 2”" in section(page, "result").text
    labels = [one.text for one in section(page, "result").all("dt")]
    assert labels == ["Accuracy", "F1", "ROC AUC", "Log-loss"]  # the loss is told once


def test_regression_leads_with_r2() -> None:
    page = read_page(render_report(regressed()))
    labels = [one.text for one in section(page, "result").all("dt")]
    assert labels[:3] == ["R²", "Mean absolute error", "Root mean squared error"]
    assert "Predicted against true" in section(page, "outcome").text


def test_the_best_epoch_is_marked_in_the_curves() -> None:
    page = read_page(render_report(classified()))
    loss = section(page, "curves").all("figure")[0]
    assert "best: epoch 6" in loss.all("svg")[0].text
    assert [one for one in loss.walk() if "ring" in one.attributes.get("class", "")]
    assert "6 (best)" in loss.all("table")[0].text


def test_a_run_that_is_not_finite_says_what_where_and_what_to_do() -> None:
    banner = section(read_page(render_report(not_finite())), "banner")
    assert "alarm" in banner.attributes["class"]
    assert "The output of layers.2 became NaN or infinite at step 32, in epoch 4" in banner.text
    assert "last finite loss was 123.5" in banner.text
    codes = [one.text for one in banner.all("code")]
    assert codes[0] == "chainrule train digits --seed 7 --learning-rate 8.1e-05"
    assert "optim.clip_by_global_norm(1.0)" in codes


def test_an_interrupted_run_says_how_to_go_on() -> None:
    banner = section(read_page(render_report(interrupted())), "banner")
    assert "4 of 8 epochs" in banner.text
    assert banner.all("code")[0].text == "chainrule train --resume runs/digits-001"


def test_an_interrupted_run_without_a_directory_says_so() -> None:
    record = dataclasses.replace(going_on(), started=started(run_dir=None))
    banner = section(read_page(render_report(record)), "banner")
    assert "can only be started again" in banner.text
    assert not banner.all("code")


def test_without_held_out_rows_the_page_warns_that_the_numbers_are_of_training_rows() -> None:
    page = read_page(render_report(STORIES["none held out"]))
    assert "No rows were held out" in section(page, "result").text
    assert "best: epoch" not in page.text


def test_the_run_can_be_repeated_from_the_page() -> None:
    """The command line stands as it was given, and the Python says the same."""
    codes = section(read_page(render_report(classified())), "repeat").all("code")
    assert codes[0].text == "chainrule train digits --seed 7"
    assert 'net, "digits",' in codes[1].text
    assert "optimizer=cr.optim.adam(learning_rate=0.001, beta1=0.9)," in codes[1].text
    assert "validation=0.2," in codes[1].text
    assert "patience=5," in codes[1].text
    compile(codes[1].text, "page", "exec")


def test_a_run_from_python_gets_no_made_up_command() -> None:
    """Only the Python can bring back a network that was made in Python."""
    record = dataclasses.replace(
        classified(),
        started=started(dataset="arrays", config={"command": [], "optimizer": "adam"}),
    )
    (code,) = section(read_page(render_report(record)), "repeat").all("code")
    assert "net, (X, y)," in code.text


def test_schedules_and_chains_are_written_as_the_calls_that_make_them() -> None:
    cosine = {"schedule": "cosine", "settings": {"start": 0.01, "steps": 100, "end": 0.0}}
    chain = {
        "optimizer": "chain",
        "settings": {
            "stages": [
                {"optimizer": "clip_by_global_norm", "settings": {"limit": 1.0}},
                {"optimizer": "sgd", "settings": {"learning_rate": cosine}},
            ]
        },
    }
    record = dataclasses.replace(classified(), started=started(config={"optimizer": chain}))
    page = read_page(render_report(record))
    assert (
        "cr.optim.chain(cr.optim.clip_by_global_norm(limit=1.0), cr.optim.sgd(learning_rate="
        "cr.optim.schedules.cosine(start=0.01, steps=100, end=0.0)))"
    ) in section(page, "repeat").text
    assert "chain(clip_by_global_norm(limit=1.0), sgd(" in section(page, "configuration").text


def hostile(text: str) -> Record:
    """A record with `text` in every place that holds one."""
    config: dict[str, Any] = {text: text, "nested": {text: [text]}, "command": ["x", text]}
    names = (text, f"{text}.2")
    return Record(
        started=started(
            dataset=text, task=text, net=text, backend=text, run_dir=text, config=config
        ),
        epochs=tuple(
            dataclasses.replace(e, train={"loss": 1.0, text: 2.0}, held_out={text: 3.0})
            for e in epochs(3)
        ),
        measures=measures(5, names),
        non_finite=NonFinite(5, 1, text, 1.0),
        evaluated=Evaluated(text, {text: 0.5}, (text, f"{text}2", "c"), matrix(3)),
        ended=RunEnded(text, 30, 3, 1, 1.0, {}),
    )


@pytest.mark.parametrize(
    "text", [EVIL, QUOTES, "{{ 7 * 7 }}{% raw %}", "</style></title>", "\x00\x1b"]
)
def test_names_are_only_names(text: str) -> None:
    """No name of a data set, class, layer, metric or setting becomes markup or template code."""
    calm = {one.name for one in read_page(render_report(hostile("calm"))).walk()}
    rendered = render_report(hostile(text))
    page = read_page(rendered)
    assert {one.name for one in page.walk()} <= calm
    attributes = {name for one in page.walk() for name in one.attributes}
    assert not {name for name in attributes if name.startswith("on")}
    assert "\x00" not in rendered
    if text in (EVIL, QUOTES):
        assert text in page.all("h1")[0].text
        assert page.text.count(text) > 20


def test_the_same_record_gives_the_same_page() -> None:
    """No clock, no random number: a page can be compared with another."""
    assert render_report(classified()) == render_report(classified())


def test_what_a_resumed_run_tells_twice_is_drawn_once() -> None:
    """Epochs and measures may come again, and out of order; the later telling counts."""
    whole = classified()
    again = dataclasses.replace(
        whole,
        epochs=(*whole.epochs[:5], *whole.epochs[3:]),
        measures=(*whole.measures[:50], *whole.measures[30:]),
    )
    assert render_report(again) == render_report(whole)


def test_a_long_and_deep_run_stays_small() -> None:
    """Thousands of epochs of a hundred layers: under 2 MB, and no extreme is lost."""
    names = tuple(f"layers.{i}" for i in range(100))
    long = [*epochs(5000)]
    long[3210] = dataclasses.replace(long[3210], train={"loss": 777.0, "accuracy": 0.5})
    record = dataclasses.replace(classified(30), epochs=tuple(long), measures=measures(400, names))
    rendered = render_report(record)
    assert len(rendered.encode()) < 2_000_000
    page = read_page(rendered)
    loss = section(page, "curves").all("figure")[0]
    (training,) = (
        one for one in loss.all("path") if one.attributes["class"].split() == ["line", "train"]
    )
    points = re.findall(r"[ML]([\d.-]+) ([\d.-]+)", training.attributes["d"])
    assert min(float(y) for _, y in points) < 30  # the one bad epoch reaches the top of the axis
    assert len(points) < 1000
    assert "of 5,000 epochs" in loss.text


def test_many_layers_are_a_heat_map_and_few_are_lines() -> None:
    few = read_page(render_report(classified()))
    names = tuple(f"layers.{i}" for i in range(40))
    deep = dataclasses.replace(classified(), measures=measures(100, names))
    many = read_page(render_report(deep))
    assert section(few, "layers").all("li")  # a legend
    assert not [one for one in few.walk() if "cell" in one.attributes.get("class", "").split()]
    assert not section(many, "layers").all("li")
    assert [one for one in many.walk() if "cell" in one.attributes.get("class", "").split()]
    titles = [one.text for one in section(many, "layers").all("title")]
    assert any(title.startswith("layers.39.bias: first") for title in titles)


def test_the_whole_net_is_no_nameless_line_beside_its_layers() -> None:
    """Its path is empty, and its output is the last layer's; a net of one layer has a name."""
    for names, shown in ((("layers.0", ""), {"layers.0"}), (("",), {"the net"})):
        record = dataclasses.replace(classified(), measures=measures(20, names))
        page = section(read_page(render_report(record)), "layers")
        entries = {one.text.strip() for one in page.all("li")}
        assert "" not in entries
        assert shown == {name for name in entries if not name.endswith(("weight", "bias"))}


def test_names_that_would_fill_the_page_are_shortened() -> None:
    record = dataclasses.replace(
        classified(), started=started(dataset="x" * 100_000, config={"y" * 50: ["z"] * 100_000})
    )
    assert len(render_report(record)) < 1_000_000


EXTREMES = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-320, 1e300, -1e308, 5.0)


@pytest.mark.parametrize("value", EXTREMES)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_any_number_can_be_drawn(value: float, count: int) -> None:
    """Constant, huge, tiny, missing: the page stands, and draws what can be drawn."""
    some = tuple(
        dataclasses.replace(e, train={"loss": value}, held_out={"loss": value}, learning_rate=value)
        for e in epochs(count)
    )
    sizes = {"gradient_rms": value, "update_rms": value, "update_ratio": value}
    layer = {"activation_rms": value, "delta_rms": value, "zero_fraction": value}
    for names in (1, 20):
        steps = tuple(
            StepMeasured(
                i,
                0,
                value,
                value,
                {f"l.{n}": layer for n in range(names)},
                {f"l.{n}.weight": sizes for n in range(names)},
            )
            for i in range(count)
        )
        pairs = Evaluated("held-out", {"r2": value}, truth=(value, 1.0), predicted=(2.0, value))
        record = Record(started=started(), epochs=some, measures=steps, evaluated=pairs)
        for svg in read_page(render_report(record)).all("svg"):
            assert_finite(svg)


numbers = st.floats(width=64) | st.floats(0, 10)
words = st.text(max_size=8)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    metrics = st.dictionaries(st.sampled_from(["loss", "accuracy"]) | words, numbers, max_size=3)
    told = [
        EpochEnded(i, i, draw(metrics), draw(metrics), draw(numbers), 0.1, draw(st.booleans()))
        for i in range(draw(st.integers(0, 4)))
    ]
    sizes = st.dictionaries(
        st.sampled_from(["gradient_rms", "update_ratio", "activation_rms", "zero_fraction"]),
        numbers,
        max_size=3,
    )
    inside = st.dictionaries(words, sizes, max_size=15)
    steps = [
        StepMeasured(i, 0, 0.0, draw(numbers), draw(inside), draw(inside))
        for i in range(draw(st.integers(0, 3)))
    ]
    reason = draw(st.sampled_from(["finished", "early stopping", "interrupted", "not finite"]))
    return Record(
        started=draw(st.none() | st.just(started())),
        epochs=tuple(told),
        measures=tuple(steps),
        evaluated=draw(st.none() | st.builds(Evaluated, st.just("held-out"), metrics)),
        ended=draw(st.none() | st.just(ended_with(reason))),
    )


def ended_with(reason: str) -> RunEnded:
    return RunEnded(reason, 4, 4, 1, 1.0, {})


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(any_record())
def test_whatever_the_record_holds_there_is_a_page(record: Record) -> None:
    for svg in read_page(render_report(record)).all("svg"):
        assert_finite(svg)


def test_a_written_report_is_whole_or_not_there(tmp_path: Path) -> None:
    """It replaces the old one in one step and leaves nothing else behind."""
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(classified(), str(path)) == path
    assert path.read_text(encoding="utf-8") == render_report(classified())
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_names_the_place(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "report.html"
    with pytest.raises(FileError, match="cannot be written") as refused:
        write_report(classified(), missing)
    assert refused.value.where == str(missing)
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError):
        write_report(classified(), tmp_path / "taken")
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]


def test_a_name_that_is_not_text_does_not_stop_the_writing(tmp_path: Path) -> None:
    """File names may hold bytes that are no UTF-8; Python keeps them as lone surrogates."""
    record = dataclasses.replace(classified(), started=started(dataset="caf\udce9.csv"))
    assert "caf?.csv" in write_report(record, tmp_path / "r.html").read_text(encoding="utf-8")
