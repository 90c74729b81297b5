"""Schedules against their closed forms, at their corners and between."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from chainrule.errors import UsageError
from chainrule.optim import schedules
from chainrule.optim.registry import schedule_from_json
from chainrule.optim.schedules import SCHEDULES, Schedule, schedule_to_json

ALL = {
    "constant": schedules.constant(0.3),
    "step": schedules.step(0.1, 100),
    "exponential": schedules.exponential(0.1, 100, factor=0.8),
    "cosine": schedules.cosine(0.1, 100, end=0.01),
    "warmup": schedules.warmup(10, schedules.cosine(0.1, 90)),
    "one_cycle": schedules.one_cycle(0.1, 100),
}
every_schedule = pytest.mark.parametrize("name", ALL)


def exact(schedule: Schedule, count: int) -> float:
    return float(schedule(np.asarray(count, np.int32), np.float64))


def test_every_schedule_is_under_these_tests() -> None:
    assert set(ALL) == set(SCHEDULES)


@every_schedule
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 29, 30, 31, 99, 100, 101, 10**9, 2**31 - 2])
def test_rates_are_float32_without_axes_and_agree_with_float64(name: str, count: int) -> None:
    schedule = ALL[name]
    rate = schedule(np.asarray(count, np.int32))
    assert type(rate) is np.ndarray
    assert (rate.dtype, rate.shape) == (np.float32, ())
    assert np.isfinite(rate)
    # A few roundings of float32 (6e-8 each); near 0 the cosine has them beside 1, so absolute.
    assert float(rate) == pytest.approx(exact(schedule, count), rel=2e-6, abs=2e-8)


@every_schedule
def test_a_python_integer_will_do(name: str) -> None:
    for count in (0, 7, 1000):
        assert ALL[name](count) == ALL[name](np.asarray(count, np.int32))


@every_schedule
def test_rates_are_positive_until_the_end(name: str) -> None:
    assert all(exact(ALL[name], count) > 0 for count in range(100))


@every_schedule
def test_json_round_trip_is_exact(name: str) -> None:
    text = json.dumps(schedule_to_json(ALL[name]), allow_nan=False)
    again = schedule_from_json(json.loads(text))
    assert again == ALL[name]
    assert hash(again) == hash(ALL[name])
    assert [exact(again, c) for c in range(0, 130, 7)] == [
        exact(ALL[name], c) for c in range(0, 130, 7)
    ]


def test_constant() -> None:
    assert exact(ALL["constant"], 0) == exact(ALL["constant"], 10**6) == 0.3


def test_step_falls_after_each_hundred() -> None:
    rates = [exact(ALL["step"], c) for c in (0, 99, 100, 199, 200, 1000)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.1 * 0.1**10], rtol=1e-13)


def test_step_boundaries_are_exact_for_counts_that_float32_cannot_hold() -> None:
    """2^24 + 1 is the first integer that float32 misses."""
    every = 2**24 + 1
    schedule = schedules.step(1.0, every, factor=0.5)
    assert [float(schedule(c)) for c in (every - 1, every, 2 * every - 1, 2 * every)] == [
        1.0,
        0.5,
        0.5,
        0.25,
    ]


def test_exponential_meets_step_at_its_corners_and_is_smooth_between() -> None:
    for count in (0, 1, 50, 100, 250):
        expected = 0.1 * math.exp(math.log(0.8) * count / 100)
        assert exact(ALL["exponential"], count) == pytest.approx(expected, rel=1e-13)


def test_cosine_begins_and_ends_exactly_and_is_halfway_in_the_middle() -> None:
    """Loshchilov and Hutter 2017, equation 5: end + (start - end) (1 + cos(pi c / T)) / 2."""
    schedule = ALL["cosine"]
    assert exact(schedule, 0) == 0.1
    assert exact(schedule, 50) == pytest.approx(0.055, rel=1e-14)
    assert exact(schedule, 100) == exact(schedule, 101) == exact(schedule, 10**6) == 0.01
    for count in range(101):
        expected = 0.01 + 0.09 * (1 + math.cos(math.pi * count / 100)) / 2
        assert exact(schedule, count) == pytest.approx(expected, rel=1e-13)


def test_cosine_ends_at_zero_by_default() -> None:
    assert exact(schedules.cosine(0.1, 7), 7) == 0.0
    assert float(schedules.cosine(0.1, 7)(7)) == 0.0


def test_warmup_is_a_straight_line_into_the_beginning_of_the_next_schedule() -> None:
    schedule = schedules.warmup(4, schedules.cosine(1.0, 10))
    np.testing.assert_allclose([exact(schedule, c) for c in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0])
    for count in (4, 9, 14, 20):
        assert exact(schedule, count) == exact(schedules.cosine(1.0, 10), count - 4)


def test_warmup_into_a_number() -> None:
    schedule = schedules.warmup(1, 0.5)
    assert [exact(schedule, c) for c in range(4)] == [0.25, 0.5, 0.5, 0.5]


def test_one_cycle_rises_for_its_part_then_falls_to_the_end() -> None:
    schedule = schedules.one_cycle(1.0, 100, rise=0.3, start_divisor=25.0, end_divisor=1e4)
    corners = {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.500002, 100: 4e-6, 500: 4e-6}
    for count, expected in corners.items():
        assert exact(schedule, count) == pytest.approx(expected, rel=1e-12)
    rates = np.array([exact(schedule, c) for c in range(101)])
    assert (np.diff(rates[:31]) > 0).all()
    assert (np.diff(rates[30:]) < 0).all()


@pytest.mark.parametrize("rise", [0.001, 0.5, 0.999])
def test_one_cycle_of_two_steps_has_a_rise_and_a_fall(rise: float) -> None:
    schedule = schedules.one_cycle(1.0, 2, rise=rise)
    np.testing.assert_allclose([exact(schedule, c) for c in range(3)], [0.04, 1.0, 4e-6])


def test_schedules_print_as_their_call() -> None:
    assert repr(ALL["warmup"]) == "warmup(steps=10, then=cosine(start=0.1, steps=90, end=0.0))"
    assert repr(ALL["constant"]) == "constant(rate=0.3)"


WRONG: list[tuple[Any, str]] = [
    (lambda: schedules.constant(0.0), "rate must be a positive"),
    (lambda: schedules.constant(math.nan), "rate must be a positive"),
    (lambda: schedules.step(0.1, 0), "every must be a whole number, 1 or more"),
    (lambda: schedules.step(0.1, 2.5), "every must be a whole number"),  # type: ignore[arg-type]
    (lambda: schedules.step(0.1, 10, factor=1.0), "factor must be between 0 and 1"),
    (lambda: schedules.exponential(-1, 10), "start must be a positive"),
    (lambda: schedules.cosine(0.1, True), "steps must be a whole number"),
    (lambda: schedules.cosine(0.1, 10, end=-0.1), "end must be a finite number"),
    (lambda: schedules.cosine(0.1, 2**31), "steps must be a whole number"),
    (lambda: schedules.warmup(0, 0.1), "steps must be a whole number"),
    (lambda: schedules.warmup(5, "fast"), "then must be"),  # type: ignore[arg-type]
    (lambda: schedules.one_cycle(0.1, 1), "steps must be a whole number, 2 or more"),
    (lambda: schedules.one_cycle(0.1, 10, rise=0.0), "rise must be between"),
    (lambda: schedules.one_cycle(0.1, 10, end_divisor=0.5), "end_divisor must be a finite"),
    (lambda: schedule_from_json({"schedule": "cosinus", "settings": {}}), "did you mean 'cosine'"),
    (lambda: schedule_from_json({"schedule": "cosine", "settings": {}}), "needs the setting"),
    (lambda: schedule_from_json({"schedule": "cosine"}), "not the JSON of a schedule"),
    (lambda: schedule_from_json("cosine"), "rate must be a positive"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_bad_settings_are_refused_when_the_schedule_is_made(make: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert message in str(caught.value)
    assert caught.value.do
