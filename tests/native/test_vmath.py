"""The elementary functions of native code keep the bounds they state, everywhere.

float32 is compared with float64's own functions, whose errors are a billionth of theirs; float64
with the wider format of this machine's C library, where there is one, and with decimals anywhere.
"""

from __future__ import annotations

import math
import platform
import re
from typing import Any

import decimal_oracle
import numpy as np
import pytest
from elementary import (
    BINARY,
    CHUNK,
    FORMATS,
    RANGE,
    UNARY,
    double_inputs,
    kernel,
    native,
    pairs,
    reference,
    single_inputs,
    ulps,
)

from chainrule.native import vmath
from chainrule.native.ir import Function

Array = Any

# NumPy warns of what is tested here: overflow and invalid values.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
needs_wider = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="this machine has no format wider than float64"
)


def assert_within_bound(name: str, kind: str, *arguments: Array) -> None:
    """Native results against those of a wider format, chunk by chunk."""
    wide = np.float64 if kind == "f32" else np.longdouble
    bound = vmath.BOUNDS[name][kind]
    for start in range(0, arguments[0].size, CHUNK):
        part = [a[start : start + CHUNK] for a in arguments]
        errors = ulps(native(name, *part), reference(name)(*(a.astype(wide) for a in part)))
        worst = int(np.argmax(errors))
        where = ", ".join(str(a[worst]) for a in part)
        assert errors[worst] <= bound, f"{name}({where}) is off by {errors[worst]} ulp, not {bound}"


# --- the bounds ---


def test_every_bound_is_at_most_two_units() -> None:
    assert set(vmath.BOUNDS) == {*UNARY, *BINARY, "fmod"}
    for bounds in vmath.BOUNDS.values():
        assert all(0 <= bound <= 2 for bound in bounds.values())


@pytest.mark.parametrize("name", UNARY)
def test_float32_is_within_its_bound(name: str) -> None:
    x = single_inputs(name)
    assert x.size > 2**24
    assert_within_bound(name, "f32", x)


@pytest.mark.parametrize("name", BINARY)
def test_float32_of_two_arguments_is_within_its_bound(name: str) -> None:
    assert_within_bound(name, "f32", *pairs(name, "f32", 2**24))


@needs_wider
@pytest.mark.parametrize("name", [n for n in UNARY if n != "erf"])
def test_float64_is_within_its_bound(name: str) -> None:
    assert_within_bound(name, "f64", double_inputs(name, 2**24))


@needs_wider
@pytest.mark.parametrize("name", BINARY)
def test_float64_of_two_arguments_is_within_its_bound(name: str) -> None:
    assert_within_bound(name, "f64", *pairs(name, "f64", 2**24))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNARY)
def test_every_float32_is_within_its_bound(name: str) -> None:
    for start in range(0, 2**32, 2**24):
        bits = np.arange(start, start + 2**24, dtype=np.uint64)
        assert_within_bound(name, "f32", bits.astype(np.uint32).view(np.float32))


def worst_against_decimals(name: str, points: list[tuple[float, ...]]) -> float:
    """The largest error of native float64, in units in the last place."""
    columns = [np.array(column) for column in zip(*points, strict=True)]
    worst = 0.0
    for got, point in zip(native(name, *columns), points, strict=True):
        want = getattr(decimal_oracle, name)(*point)
        error = abs(decimal_oracle.Decimal(float(got)) - want)
        worst = max(worst, float(error) / math.ulp(float(want)))
    return worst


def decimal_points(name: str, count: int) -> list[tuple[float, ...]]:
    """Numbers where the function is neither constant nor infinite, half of them of any size."""
    random = np.random.default_rng(3)
    low, high = RANGE[name]
    any_size = random.choice([-1, 1], count) * 10.0 ** random.uniform(-300, 0, count)
    if name in ("sin", "cos", "log"):
        any_size = any_size ** random.choice([-1.0, 1.0], count)
    within = any_size[any_size > low]
    return [(float(x),) for x in (*within, *random.uniform(low, high, count))]


@pytest.mark.parametrize("name", UNARY)
def test_float64_is_within_its_bound_of_the_exact_value(name: str) -> None:
    points = decimal_points(name, 4000)
    assert worst_against_decimals(name, points) <= vmath.BOUNDS[name]["f64"]


@pytest.mark.parametrize("name", BINARY)
def test_float64_of_two_arguments_is_within_its_bound_of_the_exact_value(name: str) -> None:
    random = np.random.default_rng(4)
    x = np.exp(random.uniform(-4, 4, 2000))
    y = random.standard_normal(2000)
    if name == "power":
        y *= 700 / np.abs(np.log(x))
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    assert worst_against_decimals(name, points) <= vmath.BOUNDS[name]["f64"]


def test_the_largest_angles_are_reduced_exactly() -> None:
    """Among them the float64 that is closest to a multiple of pi / 2 (Muller 1997)."""
    hardest = 6381956970095103 * 2.0**797
    random = np.random.default_rng(5)
    large = 2.0 ** random.uniform(29, 1024, 1000) * random.choice([-1, 1], 1000)
    points = [(float(x),) for x in (hardest, -hardest, np.finfo(float).max, 2.0**30, *large)]
    for name in ("sin", "cos"):
        assert worst_against_decimals(name, points) <= vmath.BOUNDS[name]["f64"]


# --- special cases ---

INF, NAN = math.inf, math.nan
SPECIAL = {
    "exp": [(-INF, 0), (INF, INF), (0, 1), (-0.0, 1), (1000, INF), (-1000, 0)],
    "expm1": [(-INF, -1), (INF, INF), (0, 0), (-0.0, -0.0), (1000, INF), (-1000, -1)],
    "log": [(0, -INF), (-0.0, -INF), (INF, INF), (1, 0), (-1, NAN), (-INF, NAN)],
    "log1p": [(-1, -INF), (0, 0), (-0.0, -0.0), (INF, INF), (-2, NAN), (-INF, NAN)],
    "sin": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1000, 1)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1000, 1)],
}
TO_THEMSELVES = ["expm1", "log1p", "sin", "tanh", "erf"]  # up to a factor, close to 0


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str, kind: str) -> None:
    given, want = np.array([*SPECIAL[name], (NAN, NAN)], FORMATS[kind]).T
    got = native(name, np.ascontiguousarray(given))
    np.testing.assert_array_equal(got, want)
    assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all()


@pytest.mark.parametrize("kind", FORMATS)
def test_subnormals_go_in_and_come_out(kind: str) -> None:
    least = np.finfo(FORMATS[kind]).smallest_subnormal
    tiny = least * np.array([1, -1, 2, -3, 1000], FORMATS[kind])
    for name in TO_THEMSELVES:
        factor = 2 / math.sqrt(math.pi) if name == "erf" else 1
        np.testing.assert_array_equal(native(name, tiny), (tiny * factor).astype(tiny.dtype))
    logs = native("log", np.abs(tiny))
    assert_allclose_ulps(logs, [math.log(abs(float(v))) for v in tiny])
    # e^-103 and e^-744 are a few of the smallest numbers.
    low = np.array([-103.0 if kind == "f32" else -744.0], FORMATS[kind])
    assert native("exp", low)[0] == least * round(math.exp(float(low[0])) / float(least))


def assert_allclose_ulps(got: Array, want: list[float]) -> None:
    np.testing.assert_allclose(got, want, rtol=2 * float(np.finfo(got.dtype).eps))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [*BINARY, "fmod"])
def test_two_arguments_have_the_special_cases_of_c(name: str, kind: str) -> None:
    """Every pair of zeros, infinities, NaN, ones, odd and even and half numbers, and extremes."""
    info = np.finfo(FORMATS[kind])
    odd = 2.0 ** (info.nmant + 1) - 1  # the largest odd number
    values = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, INF, odd, odd + 1, 2 * odd]
    values += [float(info.max), float(info.tiny), float(info.smallest_subnormal)]
    signed = np.array([*values, *(-v for v in values), NAN], FORMATS[kind])
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(signed, signed))
    if name == "fmod":
        got = kernel(vmath.fmod, kind, 0, 2)(x, y)
    else:
        got = native(name, x, y)
    want = getattr(np, name)(x, y)
    plain = np.isnan(want) | np.isinf(want) | (want == 0) | (np.abs(want) == 1)
    np.testing.assert_array_equal(got[plain], want[plain])
    known = plain & ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))
    np.testing.assert_allclose(got[~plain], want[~plain], rtol=4 * float(info.eps))


@pytest.mark.parametrize("kind", FORMATS)
def test_fmod_is_exact(kind: str) -> None:
    """Pairs of any size, so that quotients reach 2^277 and 2^2098."""
    x, y = pairs("power", kind, 2**18)
    got = kernel(vmath.fmod, kind, 4, 2)(x, y)
    np.testing.assert_array_equal(got, np.fmod(x, y))
    assert (np.signbit(got) == np.signbit(x))[got == 0].all()


# --- the code ---


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [*UNARY, *BINARY, "fmod"])
def test_vectors_of_any_width_give_the_same_bits(name: str, kind: str) -> None:
    """A row predicted alone equals the same row in a batch."""
    arguments = pairs(name, kind, 2**12)[: 1 if name in UNARY else 2]
    emit = getattr(vmath, name)
    alone, *vectors = (
        kernel(emit, kind, lanes, len(arguments))(*arguments) for lanes in (0, 2, 4, 8, 16)
    )
    for together in vectors:
        np.testing.assert_array_equal(alone, together)
        assert (np.signbit(alone) == np.signbit(together))[~np.isnan(alone)].all()


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the processors named are x86-64"
)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [*UNARY, *BINARY, "fmod"])
def test_older_processors_give_the_same_bits(name: str, kind: str) -> None:
    """The first x86-64 knows no fused multiply-add, no rounding and no masks, only vectors of 16
    bytes; the other is of 2013."""
    arguments = pairs(name, kind, 2**12)[: 1 if name in UNARY else 2]
    emit = getattr(vmath, name)
    here = kernel(emit, kind, 8, len(arguments))(*arguments)
    for cpu in ("x86-64", "haswell"):
        there = kernel(emit, kind, 8, len(arguments), cpu)(*arguments)
        np.testing.assert_array_equal(here, there)
        assert (np.signbit(here) == np.signbit(there))[~np.isnan(here)].all()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [*UNARY, *BINARY, "fmod"])
def test_nothing_is_left_to_the_c_library(name: str, kind: str) -> None:
    """Only LLVM's own operations are called, and those that are single instructions."""
    declared: set[str] = set()
    fn = Function("kernel", ["noalias"] * 2, declared)
    arguments = [fn.load(p, kind, 4) for p in fn.parameters[: 1 if name in UNARY else 2]]
    getattr(vmath, name)(fn, *arguments)
    called = {m for text in declared for m in re.findall(r"declare .* @([\w.]+)\(", text)}
    allowed = r"llvm\.(fma|fabs|copysign|floor|trunc|vector\.reduce\.or)\.v?\d*[fi]\d+"
    assert all(re.fullmatch(allowed, call) for call in called), called
