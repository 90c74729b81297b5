"""Fits the polynomials of chainrule/native/vmath and writes its coefficients.py.

    pip install mpmath
    python scripts/fit_vmath.py           write the file
    python scripts/fit_vmath.py --check   say whether the file is what would be written

Each polynomial is minimax for a weighted error (Remez's exchange algorithm, on a grid, with 60
digits), rounded to its format, and polished: coefficients are moved by units in the last place for
as long as that lowers the largest error.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp
import numpy as np

TARGET = Path(__file__).parent.parent / "src/chainrule/native/vmath/coefficients.py"
Real = Callable[[mp.mpf], mp.mpf]

mp.mp.dps = 60
NEARLY_ZERO = mp.mpf(10) ** -12


@dataclass(frozen=True)
class Fit:
    """`function` by a polynomial of so many terms on [start, stop]; errors count `weight` times."""

    name: str
    meaning: str
    kind: str
    terms: int
    function: Real
    start: mp.mpf
    stop: mp.mpf
    weight: Real


def away_from_zero(f: Real) -> Real:
    """The function, but at 0, where the formula has none, its value close by."""
    return lambda x: f(x if x else NEARLY_ZERO)


def of_root(f: Real) -> Real:
    """A function of z = x^2, given by x."""
    return lambda z: f(mp.sqrt(z))


def fits() -> list[Fit]:
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.0001")
    result = []

    def add(
        name: str,
        meaning: str,
        terms: dict[str, int],
        f: Real,
        ends: dict[str, tuple[object, object]] | tuple[object, object],
        weight: Real,
    ) -> None:
        for kind, count in terms.items():
            start, stop = ends[kind] if isinstance(ends, dict) else ends
            result.append(Fit(name, meaning, kind, count, f, mp.mpf(start), mp.mpf(stop), weight))

    add(
        "EXPM1",
        "(e^x - 1 - x) / x^2 for |x| <= ln 2 / 2",
        {"f32": 5, "f64": 11},
        away_from_zero(lambda x: (mp.expm1(x) - x) / x**2),
        (-half_ln2, half_ln2),
        away_from_zero(lambda x: x**2 / mp.expm1(x)),
    )
    add(
        "LOG",
        "float32: (log(1 + x) - x + x^2/2) / x^3 for |x| <= 1/3",
        {"f32": 8},
        away_from_zero(lambda x: (mp.log1p(x) - x + x**2 / 2) / x**3),
        (mp.mpf(-1) / 3, mp.mpf(1) / 3),
        away_from_zero(lambda x: x**3 / mp.log1p(x)),
    )
    root = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.0001")
    add(
        "LOG",
        "float64: (2 artanh x - 2x) / x^3 in x^2, for |x| <= 0.1716",
        {"f64": 7},
        of_root(lambda x: 2 * (mp.atanh(x) - x) / x**3),
        (NEARLY_ZERO, root**2),
        of_root(lambda x: x**3 / mp.atanh(x) / 2),
    )
    add(
        "LOG_OF_POWER",
        "(artanh x - x - x^3/3) / x^5 in x^2, for |x| <= 0.1716",
        {"f64": 8},
        of_root(lambda x: (mp.atanh(x) - x - x**3 / 3) / x**5),
        (NEARLY_ZERO, root**2),
        of_root(lambda x: x**5 / mp.atanh(x)),
    )
    add(
        "LOG2_OF_POWER",
        "2 artanh x / (x ln 2) in x^2, for |x| <= 0.1716",
        {"f64": 5},
        of_root(lambda x: 2 * mp.atanh(x) / (x * mp.log(2))),
        (NEARLY_ZERO, root**2),
        of_root(lambda x: x / mp.atanh(x) * mp.log(2) / 2),
    )
    add(
        "EXP2_OF_POWER",
        "(2^x - 1) / x for |x| <= 1/2",
        {"f64": 6},
        away_from_zero(lambda x: (mp.mpf(2) ** x - 1) / x),
        ("-0.5", "0.5"),
        lambda x: x / mp.mpf(2) ** x,
    )
    quarter = (mp.pi / 4 * mp.mpf("1.0001")) ** 2
    add(
        "SIN",
        "(sin x - x) / x^3 in x^2, for |x| <= pi/4",
        {"f32": 3, "f64": 6},
        of_root(lambda x: (mp.sin(x) - x) / x**3),
        (NEARLY_ZERO, quarter),
        of_root(lambda x: x**3 / mp.sin(x)),
    )
    add(
        "COS",
        "(cos x - 1 + x^2/2) / x^4 in x^2, for |x| <= pi/4",
        {"f32": 3, "f64": 6},
        of_root(lambda x: (mp.cos(x) - 1 + x**2 / 2) / x**4),
        (NEARLY_ZERO, quarter),
        of_root(lambda x: x**4 / mp.cos(x)),
    )
    add(
        "ATAN",
        "(arctan x - x) / x^3 in x^2, for |x| <= 1",
        {"f32": 9, "f64": 20},
        of_root(lambda x: (mp.atan(x) - x) / x**3),
        (NEARLY_ZERO, 1),
        of_root(lambda x: x**3 / mp.atan(x)),
    )
    add(
        "ERF",
        "erf(x) / x - 1 in x^2, for |x| < 0.921875 (float32) or 1 (float64)",
        {"f32": 7, "f64": 13},
        of_root(lambda x: mp.erf(x) / x - 1),
        {"f32": (NEARLY_ZERO, mp.mpf("0.921875") ** 2), "f64": (NEARLY_ZERO, 1)},
        of_root(lambda x: x / mp.erf(x)),
    )
    add(
        "MINUS_LOG_ERFC",
        "-log(1 - erf(x + ERF_CENTRE)) from there on up to where erf rounds to 1",
        {"f32": 7, "f64": 20},
        lambda x: -mp.log(mp.erfc(x + ERF_CENTRE)),
        {
            "f32": (mp.mpf("0.921875") - ERF_CENTRE, mp.mpf("3.9375") - ERF_CENTRE),
            "f64": (1 - ERF_CENTRE, mp.mpf("5.9375") - ERF_CENTRE),
        },
        lambda x: mp.erfc(x + ERF_CENTRE) / mp.erf(x + ERF_CENTRE),
    )
    return result


ERF_CENTRE = 1


def remez(f: Fit) -> tuple[list[mp.mpf], mp.mpf]:
    """The coefficients of the minimax polynomial, the constant term first, and its error."""
    n, count = f.terms, 24 * (f.terms + 1)
    middle, half = (f.start + f.stop) / 2, (f.stop - f.start) / 2
    grid = [middle - half * mp.cos(mp.pi * i / count) for i in range(count + 1)]
    values, weights = [f.function(x) for x in grid], [abs(f.weight(x)) for x in grid]
    powers = [[x**j for j in range(n)] for x in grid]
    chosen = [round(count * i / n) for i in range(n + 1)]
    while True:
        system, right = mp.matrix(n + 1, n + 1), mp.matrix(n + 1, 1)
        for row, i in enumerate(chosen):
            for j in range(n):
                system[row, j] = powers[i][j] * weights[i]
            system[row, n] = (-1) ** row
            right[row] = values[i] * weights[i]
        solution = mp.lu_solve(system, right)
        found = [solution[j] for j in range(n)]
        errors = [weights[i] * (values[i] - mp.fdot(powers[i], found)) for i in range(count + 1)]
        largest, extremes = max(map(abs, errors)), _alternating(errors, n + 1)
        if len(extremes) < n + 1 or largest < abs(solution[n]) * (1 + mp.mpf(10) ** -6):
            return found, largest
        chosen = extremes


def _alternating(errors: list[mp.mpf], wanted: int) -> list[int]:
    """Where the error is extreme, signs alternating, the largest so many."""
    found: list[int] = []
    for i, e in enumerate(errors):
        if found and (e > 0) == (errors[found[-1]] > 0):
            if abs(e) > abs(errors[found[-1]]):
                found[-1] = i
        else:
            found.append(i)
    while len(found) > wanted:
        if len(found) == wanted + 1:
            found.pop(0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1)
        else:
            pairs = range(len(found) - 1)
            least = min(pairs, key=lambda k: max(abs(errors[i]) for i in found[k : k + 2]))
            del found[least : least + 2]
    return found


def polished(f: Fit, coefficients: list[mp.mpf]) -> tuple[list[float], float]:
    """Coefficients of the format close to the given ones, and the weighted error they leave."""
    dtype = np.float32 if f.kind == "f32" else np.float64
    rounded = [float(dtype(float(c))) for c in coefficients]
    count = 1500
    grid = [f.start + (f.stop - f.start) * i / count for i in range(count + 1)]
    weight = np.array([abs(float(f.weight(x))) for x in grid])
    powers = np.array([[float(x**j) for j in range(f.terms)] for x in grid])
    # Exact up to here; what the moves add to it is small and needs no digits.
    error = np.array([float(f.function(x) - mp.polyval(rounded[::-1], x)) for x in grid])
    units = np.abs(np.spacing(np.array(rounded, dtype))).astype(np.float64)
    single = [((i, s),) for i in range(f.terms) for s in (-1, 1)]
    double = [(*a, *b) for a, b in itertools.combinations(single, 2) if a[0][0] != b[0][0]]
    moved, best, searching = np.zeros(f.terms), np.abs(weight * error).max(), True
    while searching:
        searching = False
        for move in [*single, *double]:
            tried = moved.copy()
            for i, sign in move:
                tried[i] += sign * units[i]
            largest = np.abs(weight * (error - powers @ tried)).max()
            if largest < best * (1 - 1e-9):
                moved, best, searching = tried, largest, True
    return [float(dtype(c + m)) for c, m in zip(rounded, moved, strict=True)], float(best)


def written(f: Fit) -> str:
    """The entry of one fit."""
    exact, _ = remez(f)
    values, error = polished(f, exact)
    lines = [f'    "{f.kind}": (  # error 2^{float(mp.log(error, 2)):.1f}']
    for value in values:
        text = repr(float(str(np.float32(value)))) if f.kind == "f32" else repr(value)
        lines.append(f"        {text},")
    return "\n".join([*lines, "    ),"])


def constants() -> str:
    """2/pi and pi/2, to as many digits as reduction needs."""
    with mp.workprec(1400):
        words = [int(mp.floor(2 / mp.pi * mp.mpf(2) ** (32 * (i + 1)))) % 2**32 for i in range(38)]
        parts: list[float] = []
        for _ in range(3):
            parts.append(float(mp.pi / 2 - sum(map(mp.mpf, parts))))
    lines = ["# pi/2 as the sum of three numbers.", f"HALF_PI = {tuple(parts)}", ""]
    lines += ["# The bits of 2/pi after the point, 32 at a time.", "TWO_OVER_PI = tuple("]
    lines += ["    int(word, 16)", "    for word in ("]
    for i in range(0, len(words), 8):
        listed = " ".join(f"{word:08x}" for word in words[i : i + 8])
        lines.append(f'        "{listed}{" " if i + 8 < len(words) else ""}"')
    return "\n".join([*lines, "    ).split()", ")"])


def document() -> str:
    """The text of coefficients.py."""
    parts = [
        '"""What the polynomials of vmath are: written by scripts/fit_vmath.py, which says how.\n\n'
        "Coefficients begin with the constant term. Each error is that of the function the\n"
        'polynomial is for, relative to it, before rounding.\n"""',
        f"from __future__ import annotations\n\nERF_CENTRE = {float(ERF_CENTRE)}",
        constants(),
    ]
    for name, group in itertools.groupby(fits(), key=lambda f: f.name):
        members = list(group)
        meanings = dict.fromkeys(f"# {f.meaning}" for f in members)
        entries = "\n".join(written(f) for f in members)
        parts.append("\n".join([*meanings, f"{name} = {{", entries, "}"]))
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    text = document()
    if "--check" in arguments:
        same = TARGET.read_text() == text
        print("up to date" if same else f"{TARGET} is not what this script writes")
        return 0 if same else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
