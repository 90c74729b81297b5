"""Charts, heat maps and the confusion matrix, and the colours they are drawn in."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from page_reader import Element, read_page

from chainrule.report import page
from chainrule.report.charts import Guide, Mark, Series, line_chart, scatter_chart
from chainrule.report.heat import heat_map, shades_for
from chainrule.report.layers import depth_inks
from chainrule.report.matrix import matrix_chart
from chainrule.report.svg import Svg, apart, element, path, shorten


def tree(svg: Svg) -> Element:
    return read_page(f"<!doctype html>{svg}").children[0]


def with_class(svg: Element, name: str) -> list[Element]:
    return [one for one in svg.walk() if name in one.attributes.get("class", "").split()]


def line(*y: float, name: str = "loss", ink: str = "train") -> Series:
    return Series(name, [i + 1.0 for i in range(len(y))], y, ink)


def test_text_is_escaped_and_markup_is_kept() -> None:
    inner = element("tspan", "a < b & c")
    assert element("text", inner, class_="x", text_anchor=None, x=1.25) == (
        '<text class="x" x="1.2"><tspan>a &lt; b &amp; c</tspan></text>'
    )
    assert 'title="&quot;&gt;"' in element("g", title='">')


def test_a_gap_breaks_the_line_and_a_lone_point_stays_visible() -> None:
    assert path([(0, 0), (1, 2), None, (3, 1)]) == "M0 0L1 2M3 1h0"
    svg = tree(line_chart([line(1, 2, math.nan, 3)], label="l", x_name="epoch"))
    assert len(with_class(svg, "line")[0].attributes["d"].split("M")) == 3
    circles = [one for one in with_class(svg, "point") if one.name == "circle"]
    assert len(circles) == 4  # one for the lone point, one for each finite value's probe


def test_zeros_break_a_line_on_a_log_axis() -> None:
    svg = tree(line_chart([line(1, 0.1, 0, 0.01, 0.001)], label="l", x_name="epoch", log=True))
    assert with_class(svg, "line")[0].attributes["d"].count("M") == 2


def test_values_can_be_read_without_a_script() -> None:
    """Each probe shows its epoch and the exact value of every line, by CSS alone."""
    series = [line(0.5, 0.25, name="training"), line(0.75, 0.5, name="held-out", ink="held")]
    svg = tree(line_chart(series, label="l", x_name="epoch"))
    texts = [probe.text for probe in with_class(svg, "probe")]
    assert len(texts) == 2
    assert "epoch 2" in texts[1]
    assert "0.25  training" in texts[1]
    assert "0.5  held-out" in texts[1]
    style = page._source("page.css")
    assert re.search(r"\.show \{ visibility: hidden", style)
    assert ".probe:hover .show { visibility: visible; }" in style


def test_probes_cover_the_plot_without_overlap() -> None:
    svg = tree(line_chart([line(*range(500))], label="l", x_name="epoch"))
    hits = [one.attributes for one in with_class(svg, "hit")]
    assert len(hits) <= 80
    ends = [(float(a["x"]), float(a["x"]) + float(a["width"])) for a in hits]
    assert all(abs(a[1] - b[0]) <= 0.11 for a, b in itertools.pairwise(ends))  # one decimal each


def test_the_best_epoch_can_always_be_probed() -> None:
    mark = Mark(123.0, "best: epoch 123", 122.0, "train")
    svg = tree(line_chart([line(*range(500))], label="l", x_name="epoch", marks=[mark]))
    assert any("epoch 123" in probe.text for probe in with_class(svg, "probe"))


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    series = [line(1, 2, name="training"), line(1, 2.001, name="held-out", ink="held")]
    svg = tree(line_chart(series, label="l", x_name="epoch"))
    places = [float(one.attributes["y"]) for one in with_class(svg, "series")]
    assert abs(places[0] - places[1]) >= 12


@given(st.lists(st.floats(0, 100), max_size=6))
def test_labels_are_moved_apart_within_their_room(places: list[float]) -> None:
    moved = sorted(apart(places, 12, 0, 100))
    assert all(b - a >= 12 - 1e-9 for a, b in itertools.pairwise(moved))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in moved)


def test_values_beyond_the_limits_are_drawn_at_the_edge() -> None:
    guide = Guide(1e-4, 1e-2, "usual range")
    series = [line(1e-3, 1e9)]
    svg = tree(line_chart(series, label="l", x_name="s", log=True, guide=guide, limits=(1e-7, 1.0)))
    labels = [one.text for one in with_class(svg, "tick")]
    assert not [label for label in labels if "10⁹" in label]
    assert "usual range" in svg.text
    assert "1,000,000,000" in svg.text or "10⁹" in svg.text  # the readout tells the true value


def test_nothing_to_draw_is_still_a_picture() -> None:
    for series in ([], [line()], [line(math.nan)], [line(math.inf, -math.inf)]):
        assert tree(line_chart(series, label="l", x_name="epoch")).name == "svg"


def test_a_scatter_plot_has_one_scale_on_both_axes() -> None:
    """The line of agreement is the diagonal only if both axes are alike."""
    svg = tree(scatter_chart([0.0, 10.0], [5.0, 100.0], label="s", outliers=[1]))
    (diagonal,) = with_class(svg, "mark")
    x1, y1, x2, y2 = (float(diagonal.attributes[k]) for k in ("x1", "y1", "x2", "y2"))
    ticks = [one.text for one in with_class(svg, "tick")]
    assert set(Counter(ticks).values()) == {2}
    assert x1 < x2
    assert y1 > y2
    (ring,) = with_class(svg, "ring")
    assert ring.text.strip() == "true 10, predicted 100"
    # (10, 100) lies above the diagonal: more was predicted than true
    slope = (y2 - y1) / (x2 - x1)
    cx, cy = float(ring.attributes["cx"]), float(ring.attributes["cy"])
    assert cy < y1 + slope * (cx - x1)


def test_a_confusion_matrix_holds_every_count() -> None:
    svg = tree(matrix_chart(["cat", "dog"], [[8, 2], [0, 5]], label="m"))
    assert [one.text for one in with_class(svg, "count")] == ["8", "2", "5"]
    titles = [one.text for one in svg.all("title")]
    assert "true cat, predicted dog: 2 of 10 (20.0\u00a0%)" in titles
    right = [float(one.attributes["fill-opacity"]) for one in with_class(svg, "right")]
    wrong = [float(one.attributes["fill-opacity"]) for one in with_class(svg, "wrong")]
    assert right == pytest.approx([math.sqrt(0.8), 1.0], abs=0.01)
    assert wrong == pytest.approx([math.sqrt(0.2), 0.0], abs=0.01)


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
def test_confusion_matrices_keep_cells_that_can_be_read(classes: int) -> None:
    names = [f"a class with a long name {i}" for i in range(classes)]
    svg = tree(matrix_chart(names, [[1] * classes] * classes, label="m"))
    cell = min(float(one.attributes["width"]) for one in with_class(svg, "wrong"))
    assert cell >= 22
    assert f"true {names[0]}, predicted {names[1]}" in svg.text


def test_a_heat_map_shades_by_size_and_names_what_has_no_size() -> None:
    values = np.array([[1e-4, 1e-2, 1.0], [0.0, np.inf, np.nan]])
    svg = tree(
        heat_map(
            ["a", "b"], [1, 2, 3], values, label="h", x_name="step", titles=["first", "second"]
        )
    )
    inks = {one.attributes["class"] for one in with_class(svg, "cell")}
    assert {"cell h0", "cell h5", "cell h9", "cell zero", "cell infinite", "cell missing"} == inks
    assert "exactly 0" in svg.text
    assert "infinite" in svg.text
    assert [one.text for one in svg.all("title")] == ["first", "second"]


@given(st.lists(st.floats(), min_size=1, max_size=30), st.booleans(), st.booleans())
@example([8e293, -1.7976931348623075e308], False, False)  # a span that is no finite number
def test_every_size_has_an_ink_that_the_style_sheet_knows(
    values: list[float], log: bool, guided: bool
) -> None:
    guide = (1e-4, 1e-2) if guided and log else None
    shades = shades_for(np.array([values]), log=log, guide=guide)
    style = page._source("page.css")
    for value in values:
        assert f".{shades.ink(value)} {{" in style


def test_a_guide_splits_sizes_into_low_usual_and_high() -> None:
    shades = shades_for(np.array([[1e-6, 1e-3, 0.5]]), log=True, guide=(1e-4, 1e-2))
    inks = [shades.ink(v) for v in (1e-6, 1e-5, 1e-3, 0.02, 0.5)]
    assert [ink[0] for ink in inks] == ["b", "b", "u", "a", "a"]
    assert inks[0] > inks[1]
    assert inks[4] > inks[3]


def test_layers_get_colours_by_depth_and_their_biases_dashes() -> None:
    inks = depth_inks(["l.0.weight", "l.0.bias", "l.2.weight", "l.2.bias", "l.4.weight"])
    assert list(inks.values()) == ["d0", "d0 dash", "d6", "d6 dash", "d11"]


def test_long_names_keep_both_ends() -> None:
    assert shorten("layers.encoder.0.weight", 12) == "layers…eight"
    assert len(shorten("x" * 99, 12)) == 12
    assert shorten("short", 12) == "short"


# --- colours --------------------------------------------------------------------------------

Colour = tuple[float, float, float]


def palettes() -> dict[str, dict[str, Colour]]:
    """The colour variables for light and for dark."""
    style = page._source("page.css")
    light, dark = (re.findall(r":root \{(.*?)\n ?\s*\}", style, re.DOTALL))[:2]
    found = {}
    for name, text in (("light", light), ("dark", dark)):
        pairs = re.findall(r"--([a-z0-9]+): #([0-9a-f]{6})", text)
        found[name] = {
            key: (int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255)
            for key, code in pairs
        }
    return found


def linear(colour: Colour) -> np.ndarray:
    c = np.array(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: Colour, b: Colour) -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines 2.1."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    high, low = sorted((float(linear(c) @ weights) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# Dichromatic vision: Machado, Oliveira and Fernandes (2009), severity 1.
SEEN_BY = {
    "all": np.eye(3),
    "protanopes": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopes": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopes": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(colour: Colour, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(seen @ linear(colour), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_lines_stand_out_from_the_paper(mode: str) -> None:
    """4.5 to 1 for whatever is written, 3 to 1 for lines (WCAG 2.1, AA)."""
    colours = palettes()[mode]
    for written in ("ink", "muted", "train", "held", "other", "bad", "alarm", "calm"):
        assert contrast(colours[written], colours["paper"]) >= 4.5, written
        assert contrast(colours[written], colours["wash"]) >= 4.4, written
    for depth in range(12):
        assert contrast(colours[f"d{depth}"], colours["paper"]) >= 3, depth


@pytest.mark.parametrize("viewer", SEEN_BY)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colour_blind_readers_can_tell_the_lines_apart(mode: str, viewer: str) -> None:
    """A distance of 20 in L*a*b* is far more than the 2.3 that can just be noticed."""
    colours = palettes()[mode]
    for a, b in (("train", "held"), ("d0", "d6"), ("d6", "d11"), ("d0", "d11")):
        there, here = (lab(colours[one], SEEN_BY[viewer]) for one in (a, b))
        assert np.linalg.norm(there - here) > 20, (a, b)


def test_every_ink_of_a_line_has_its_colour() -> None:
    style = page._source("page.css")
    for ink in ("train", "held", "other", *(f"d{i}" for i in range(12))):
        assert f".{ink} {{ stroke: var(--{ink}); }}" in style
