"""Elementary functions as vector code: range reduction, polynomials, and selections.

Receives: a `Function` being written and values, scalars or vectors of any width, float32 or
float64. Returns: the function's value in each lane. Next: `native/elementwise.py` calls these.

Nothing calls libm, so that results are the same bits on every machine and for every width. `BOUNDS`
states the largest error of each function in units in the last place; tests hold them, over every
float32 where there is one argument.
"""

from chainrule.native.vmath.error_function import erf
from chainrule.native.vmath.exponentials import exp, expm1, tanh
from chainrule.native.vmath.logarithms import log, log1p
from chainrule.native.vmath.powers import power
from chainrule.native.vmath.remainders import fmod
from chainrule.native.vmath.trigonometry import arctan2, cos, sin

__all__ = [
    "BOUNDS",
    "arctan2",
    "cos",
    "erf",
    "exp",
    "expm1",
    "fmod",
    "log",
    "log1p",
    "power",
    "sin",
    "tanh",
]

# function -> format -> units in the last place. For float32 functions of one argument the largest
# error of all 2^32 is rounded up; the others are the largest found in searches, with room.
BOUNDS: dict[str, dict[str, float]] = {
    "exp": {"f32": 1.0, "f64": 1.0},
    "expm1": {"f32": 1.3, "f64": 1.3},
    "log": {"f32": 1.0, "f64": 1.0},
    "log1p": {"f32": 1.6, "f64": 1.6},
    "sin": {"f32": 1.6, "f64": 1.0},
    "cos": {"f32": 1.6, "f64": 1.0},
    "tanh": {"f32": 1.9, "f64": 1.9},
    "erf": {"f32": 1.2, "f64": 1.2},
    "power": {"f32": 0.6, "f64": 1.0},
    "arctan2": {"f32": 1.7, "f64": 1.7},
    "fmod": {"f32": 0.0, "f64": 0.0},
}
