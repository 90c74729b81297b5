"""Axes, ticks, numbers and buckets: they cover the data and never lie about it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainrule.report.buckets import edges, kept_points, means, spread
from chainrule.report.scales import (
    LARGEST,
    SMALLEST,
    drawable,
    duration,
    linear_ticks,
    log_ticks,
    number,
    percent,
    scale_for,
    tick_labels,
    whole_ticks,
)

any_float = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(any_float, max_size=20), st.booleans())
def test_a_scale_covers_all_that_can_be_drawn(values: list[float], log: bool) -> None:
    """Every finite value (positive on a log axis) lies between the ends, in order."""
    scale = scale_for(values, 200.0, 10.0, log=log)
    assert math.isfinite(scale.low)
    assert math.isfinite(scale.high)
    assert scale.low < scale.high
    assert scale.low > 0 or not log
    kept = sorted(drawable(values, log=log))
    assert all(scale.low <= value <= scale.high for value in kept)
    places = [scale(value) for value in kept]
    assert all(10.0 - 1e-9 <= place <= 200.0 + 1e-9 for place in places)
    assert all(b <= a + 1e-9 for a, b in pairwise(places))


@given(st.lists(any_float, max_size=20), st.booleans(), st.integers(2, 10))
@example([1.7387104303770066e-307], False, 2)  # a span smaller than the smallest step
def test_ticks_are_few_sorted_and_on_the_axis(values: list[float], log: bool, count: int) -> None:
    scale = scale_for(values, 0.0, 100.0, log=log)
    ticks = scale.ticks(count)
    assert 1 <= len(ticks) <= 3 * count + 4
    assert all(math.isfinite(tick) and scale.low <= tick <= scale.high for tick in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    assert len(tick_labels(ticks)) == len(ticks)


@given(st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=20), st.booleans())
@example([5.534055393382819e29, 6.2612311645767936e29], True)
@example([1.1050315712922829e29, 8.144564282743885e29], True)  # one linear tick, two others
def test_the_ticks_of_ordinary_data_have_different_labels(values: list[float], log: bool) -> None:
    """Two ticks with one label would say that two places are the same."""
    ticks = scale_for(values, 0.0, 100.0, log=log).ticks()
    labels = tick_labels(ticks)
    assert len(labels) >= 2
    assert len(set(labels)) == len(labels)


def test_ticks_are_round_numbers() -> None:
    assert linear_ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert linear_ticks(-3.0, 12.0, 4) == pytest.approx([0, 5, 10])
    assert log_ticks(0.002, 30.0) == pytest.approx([0.01, 0.1, 1, 10])
    assert log_ticks(0.9, 6.0) == pytest.approx([1, 2, 5])
    assert log_ticks(1e-20, 1.0, 4) == pytest.approx([1e-20, 1e-15, 1e-10, 1e-5, 1])
    assert whole_ticks(1.0, 30.0) == [1, 10, 20, 30]
    assert whole_ticks(1.0, 4.0) == [1, 2, 3, 4]
    assert whole_ticks(0.0, 1990.0) == [0, 500, 1000, 1500]


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_what_is_counted_gets_whole_ticks(low: int, span: int) -> None:
    ticks = whole_ticks(float(low), float(low + span))
    assert ticks
    assert all(tick == int(tick) and low <= tick <= low + span for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_labels_are_short_and_alike() -> None:
    assert tick_labels([0.0, 0.5, 1.0]) == ["0", "0.5", "1"]
    assert tick_labels([1e-5, 1e-3, 0.1]) == ["10⁻⁵", "10⁻³", "10⁻¹"]
    assert tick_labels([-20000, 0, 20000]) == ["−20k", "0", "20k"]
    assert tick_labels([1, 1e3, 1e6]) == ["10⁰", "10³", "10⁶"]
    assert tick_labels([1, 10, 100, 1000]) == ["1", "10", "100", "1000"]


@given(st.floats(-1e307, 1e307))
def test_a_number_reads_back_as_what_it_was(value: float) -> None:
    """Four digits are kept; what a person reads is within half of the last of them."""
    text = number(value).replace(",", "").replace("−", "-")
    mantissa, _, power = text.partition("×10")
    if text.lstrip("-").startswith("10") and any(c in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻" for c in text):
        mantissa, power = ("-1" if text.startswith("-") else "1"), text.lstrip("-")[2:]
    exponent = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or "0"
    assert float(f"{mantissa}e{exponent}") == pytest.approx(value, rel=6e-3, abs=1e-322)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (0.12345678, "0.1235"),
        (123.456, "123.5"),
        (-0.5, "−0.5"),
        (1.5e-7, "1.5×10⁻⁷"),
        (1e9, "10⁹"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_a_percentage_never_claims_all_or_nothing() -> None:
    """99.99 % is not 100 %: one row in ten thousand is wrong."""
    assert percent(0.974) == "97.4\u00a0%"
    assert percent(1.0) == "100\u00a0%"
    assert percent(0.9999) == ">99.9\u00a0%"
    assert percent(0.0001) == "<0.1\u00a0%"
    assert percent(0.0) == "0\u00a0%"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.271, "0.27 s"), (12.34, "12.3 s"), (245.0, "4 min 05 s"), (7980.0, "2 h 13 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text


@given(st.lists(any_float, min_size=1, max_size=2000), st.integers(1, 50))
def test_fewer_points_keep_every_extreme(y: list[float], buckets: int) -> None:
    """First, last, lowest and highest are drawn, and so is each break of the line."""
    kept = kept_points(y, buckets)
    assert kept == sorted(set(kept))
    assert len(kept) <= 5 * buckets
    good = [i for i, v in enumerate(y) if math.isfinite(v)]
    shown = [y[i] for i in kept if math.isfinite(y[i])]
    if good:
        assert min(shown) == min(y[i] for i in good)
        assert max(shown) == max(y[i] for i in good)
        assert {good[0], good[-1]} <= set(kept)
    if len(good) < len(y):
        assert len(shown) < len(kept)


@given(st.integers(0, 500), st.integers(1, 60))
def test_ranges_are_even_and_leave_nothing_out(count: int, buckets: int) -> None:
    ranges = edges(count, buckets)
    assert [i for a, b in ranges for i in range(a, b)] == list(range(count))
    sizes = {b - a for a, b in ranges}
    assert not sizes or max(sizes) - min(sizes) <= 1
    chosen = spread(count, buckets)
    assert len(chosen) <= buckets
    assert not count or chosen[0] == 0
    assert count < 1 or buckets < 2 or chosen[-1] == count - 1


def test_means_of_sizes_are_geometric_and_say_what_is_missing() -> None:
    values = np.array([[1.0, 100.0, 0.0, 0.0, np.nan, np.inf, np.nan, np.nan]])
    ranges = edges(8, 4)
    logs = means(values, ranges, log=True)[0]
    assert logs[:2] == pytest.approx([10.0, 0.0])
    assert np.isinf(logs[2])
    assert np.isnan(logs[3])
    assert means(values, ranges, log=False)[0][0] == 50.5


def test_the_limits_of_drawing_are_where_arithmetic_still_holds() -> None:
    assert math.isfinite(LARGEST - -LARGEST)
    assert SMALLEST > 0
    assert math.isfinite(math.log10(SMALLEST))
