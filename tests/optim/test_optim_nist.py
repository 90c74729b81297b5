"""Levenberg-Marquardt finds NIST's certified estimates for all 27 problems, from both starts.

The measure is NIST's own: the digits in which an estimate agrees with the certified one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from nist_problems import FOLDER, MODELS, read

import chainrule as cr
from chainrule.optim import Fit

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="NIST's data are not there: $CHAINRULE_DATA/nist-strd"
)
CERTIFIED = 11  # digits

every_problem = pytest.mark.parametrize("name", MODELS)
both_starts = pytest.mark.parametrize("start", [1, 2])


@functools.cache
def fitted(name: str, start: int) -> Fit:
    problem = read(name)
    return cr.optim.least_squares(
        problem.residuals, problem.starts[start - 1], problem.x, problem.y, backend="reference"
    )


def digits(found: Any, certified: Any) -> float:
    """The fewest digits in which numbers agree."""
    off = np.max(np.abs(np.asarray(found) - certified) / np.abs(certified))
    return float(min(-np.log10(max(off, 1e-300)), CERTIFIED))


@every_problem
@both_starts
def test_the_certified_estimates_are_found(name: str, start: int) -> None:
    """To 8 digits at least, from the far start as from the near one; 6 are asked for. The certified
    ones are given to 11."""
    fit = fitted(name, start)
    assert fit.converged, fit.message
    assert digits(fit.x, read(name).certified) > 8


@every_problem
@both_starts
def test_the_certified_sum_of_squares_and_standard_deviations_are_found(
    name: str, start: int
) -> None:
    fit, problem = fitted(name, start), read(name)
    # The residuals of Lanczos1 are 1e-13, of numbers near 1: three digits of them are computed.
    least = 2.5 if name == "Lanczos1" else 8
    assert digits(fit.value, problem.sum_of_squares) > least
    assert digits(fit.standard_errors, problem.deviations) > least


def test_there_are_27_problems_and_all_are_solved_from_both_starts() -> None:
    solved = {
        start: [n for n in MODELS if digits(fitted(n, start).x, read(n).certified) >= 6]
        for start in (1, 2)
    }
    assert {start: len(names) for start, names in solved.items()} == {1: 27, 2: 27}


def test_they_take_few_iterations() -> None:
    """A change that makes the method grope shows here."""
    assert sum(fitted(n, 2).iterations for n in MODELS) < 500
    assert sum(fitted(n, 1).iterations for n in MODELS) < 1200


@pytest.mark.parametrize("name", ["Misra1a", "Roszman1", "Rat43"])
def test_the_native_backend_finds_them_too(name: str) -> None:
    problem = read(name)
    fit = cr.optim.least_squares(
        problem.residuals, problem.starts[1], problem.x, problem.y, backend="native"
    )
    assert digits(fit.x, problem.certified) > 9


# One of each kind that Gauss-Newton alone can do from the near start.
@pytest.mark.parametrize("name", ["Misra1a", "DanWood", "Gauss1", "Kirby2", "Roszman1", "Chwirut2"])
def test_gauss_newton_finds_them_from_a_good_start(name: str) -> None:
    problem = read(name)
    fit = cr.optim.least_squares(
        problem.residuals,
        problem.starts[1],
        problem.x,
        problem.y,
        method="gauss_newton",
        backend="reference",
    )
    assert fit.converged, fit.message
    assert digits(fit.x, problem.certified) > 9
