"""The number of threads follows what steps take."""

from __future__ import annotations

import math

from chainrule.runtime.pace import PATIENCE, PROBE_CALLS, PROBE_EVERY, PROBE_FOR, WARM, Pace


def taken(pace: Pace, seconds: dict[int, float], calls: int, start: float = 0.0) -> list[int]:
    """The teams of so many calls of 0.1 s; a step takes `seconds` by the number of threads."""
    teams = []
    for number in range(calls):
        team, allowed = pace.next(start + number * 0.1, 0.1)
        assert allowed in (0.1, PROBE_FOR)
        pace.note(team, seconds[team])
        teams.append(team)
    return teams


def test_all_threads_go_on_where_they_are_faster() -> None:
    teams = taken(Pace(2), {1: 2e-4, 2: 1e-4}, 100)
    assert teams[0] == 2
    assert 0 < teams.count(1) <= PROBE_CALLS * (100 * 0.1 / PROBE_EVERY + 1)


def test_where_it_is_clear_who_is_faster_one_thread_is_tried_seldom() -> None:
    """Long steps by two threads in half of the time: a trial each 25 steps would cost a tenth."""
    pace, now, tried = Pace(2), 0.0, 0
    for _ in range(400):
        team, _ = pace.next(now, 0.1)
        seconds = {1: 0.06, 2: 0.03}[team]
        pace.note(team, seconds)
        now, tried = now + seconds, tried + (team == 1)
    assert tried == PROBE_CALLS
    assert taken(pace, {1: 0.06, 2: 0.05}, PATIENCE - 1, start=now) == [2] * (PATIENCE - 1)
    assert taken(pace, {1: 0.06, 2: 0.2}, 20, start=now)[-1] == 1, "until all threads are slow"


def test_one_thread_takes_over_when_the_others_wait_for_a_core_and_gives_back_later() -> None:
    pace = Pace(4)
    assert taken(pace, {1: 3e-4, 4: 1e-4}, 20).count(4) >= 15
    busy = taken(pace, {1: 5e-4, 4: 1e-2}, 40, start=2.0)
    assert busy[-1] == 1
    assert busy.count(1) > 30
    quiet = taken(pace, {1: 3e-4, 4: 1e-4}, 120, start=6.0)
    assert quiet[-20:].count(4) >= 15


def test_trying_the_other_number_is_short() -> None:
    pace = Pace(2)
    for _ in range(WARM):
        pace.note(2, 1e-4)
    for _ in range(PROBE_CALLS):
        assert pace.next(0.0, math.inf) == (1, PROBE_FOR)
        pace.note(1, 2e-4)
    assert pace.next(0.1, math.inf) == (2, math.inf)


def test_long_steps_are_tried_seldom() -> None:
    """A step of a second by all threads, and of a tenth by one: most time goes to the one."""
    pace, now, spent = Pace(2), 0.0, {1: 0.0, 2: 0.0}
    while now < 300:
        team, _ = pace.next(now, 0.1)
        seconds = {1: 0.1, 2: 1.0}[team]
        pace.note(team, seconds)
        now, spent[team] = now + seconds, spent[team] + seconds
    assert spent[2] < 0.07 * now


def test_a_slow_beginning_says_nothing() -> None:
    """The first step meets cold caches; one thread alone does not take over for that."""
    pace = Pace(2)
    for seconds in (5e-2, *[1e-4] * (WARM - 1)):
        assert pace.next(0.0, math.inf) == (2, math.inf)
        pace.note(2, seconds)
    for _ in range(PROBE_CALLS):
        assert pace.next(0.1, math.inf) == (1, PROBE_FOR)
        pace.note(1, 2e-4)
    assert pace.next(0.2, math.inf) == (2, math.inf)


def test_the_first_call_of_a_trial_does_not_count() -> None:
    """All threads come back when the machine is quiet, though they wake up slowly each time."""
    pace = Pace(2)
    for _ in range(WARM):
        pace.note(2, 1e-2)
    now, teams = 0.0, []
    for _ in range(40):
        team, _ = pace.next(now, 0.1)
        woken = bool(teams) and teams[-1] != team
        pace.note(team, {1: 2e-4, 2: 1e-4}[team] * (50 if woken and team == 2 else 1))
        teams.append(team)
        now += 0.3
    assert teams[-10:].count(2) >= 5


def test_where_one_thread_is_enough_nothing_is_tried() -> None:
    assert set(taken(Pace(1), {1: 1e-6}, 50)) == {1}
