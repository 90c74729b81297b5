"""`minimize` and `least_squares`: full-batch methods for any function, without a network.

found = cr.optim.minimize(f, x0)
fit = cr.optim.least_squares(lambda b, x, y: b[0] * np.exp(-b[1] * x) - y, b0, x, y)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import NonFiniteError, UsageError
from chainrule.jacobians import value_and_jacobian
from chainrule.optim import checks
from chainrule.optim.arrays import Array
from chainrule.optim.full_batch import (
    Iteration,
    Loss,
    Packing,
    Remembered,
    Residuals,
    Vector,
)
from chainrule.optim.gauss_newton import gauss_newton, levenberg_marquardt
from chainrule.optim.linear_model import LinearModel
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.quasi_newton import lbfgs
from chainrule.pipeline import compile, value_and_grad
from chainrule.reference import one_blas_thread
from chainrule.tracing import trees
from chainrule.tracing.calls import name_of

Function = Callable[..., Any]
_KEPT_PROGRAMS = 64  # functions whose programs are kept for the next call


@dataclass(frozen=True)
class Result:
    """What `minimize` found: `x` is a tree like x0, `gradient_norm` the Euclidean norm there.

    `evaluations` counts the gradients computed. `converged` is False where the iterations ran out
    or no step helped; `message` says why it ended.
    """

    x: Any
    value: float
    gradient_norm: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


@dataclass(frozen=True)
class Fit:
    """What `least_squares` found: `x` is a tree like x0, `value` the sum of squared residuals.

    `residuals` [n] and `jacobian` [n, p] are those at x, with a column for each number of x in the
    order of its leaves. `covariance` [p, p] is that of the estimates, value / (n - p) * inverse
    (J'J), and `standard_errors` (a tree like x) the roots of its diagonal; both are None where n
    <= p, or where the residuals do not determine x (J has not full rank). `gradient_norm` is that
    of value / 2. `evaluations` counts the residuals computed, with or without the Jacobian.
    """

    x: Any
    value: float
    residuals: Array
    jacobian: Array
    covariance: Array | None
    standard_errors: Any
    gradient_norm: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


@one_blas_thread()
def minimize(
    f: Function,
    x0: Any,
    *args: Any,
    method: str = "lbfgs",
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    memory: int = 10,
    backend: str | None = None,
) -> Result:
    """The x near x0 at which `f(x, *args)` is least, by L-BFGS (see `lbfgs`).

    `f` is plain NumPy code that returns one number; x0 is any tree of floating-point arrays, whose
    dtypes are kept. Ends where the norm of the gradient is at most `tolerance`, or where rounding
    hides whether `f` can fall. Raises what `grad` raises, and NonFiniteError where f(x0) or its
    gradient is not finite.
    """
    checks.one_of("minimize", "method", method, ("lbfgs",))
    limit = checks.whole("minimize", "max_iterations", max_iterations)
    optimizer = lbfgs(memory=memory, tolerance=tolerance)
    program, space = _cached(_gradient_program, f, backend), _Space("minimize", x0)

    def slope(x: Vector) -> tuple[float, Vector]:
        value, gradient = program(space.tree(x), *args)
        return float(value), space.vector(gradient)

    remembered = Remembered(slope)
    _check_start(f, *remembered(space.vector(x0)))
    loss = Loss(remembered, space.packing.rounded, space.packing.precision)
    end, iterations = _iterated(optimizer, loss, space.vector(x0), space, limit)
    value, gradient = remembered(end.x)
    return Result(
        x=space.tree(end.x),
        value=value,
        gradient_norm=float(np.linalg.norm(gradient)),
        iterations=iterations,
        evaluations=remembered.runs,
        converged=end.converged,
        message=end.ended,
    )


_LEAST_SQUARES = {"levenberg_marquardt": levenberg_marquardt, "gauss_newton": gauss_newton}


@one_blas_thread()
def least_squares(
    residuals: Function,
    x0: Any,
    *args: Any,
    method: str = "levenberg_marquardt",
    tolerance: float = 1e-12,
    max_iterations: int = 2000,
    backend: str | None = None,
) -> Fit:
    """The x near x0 at which the squares of `residuals(x, *args)` add up to least.

    `residuals` is plain NumPy code that returns an array (its elements are the residuals); x0 is
    any tree of floating-point arrays, whose dtypes are kept. `method` is "levenberg_marquardt" or
    "gauss_newton", which halves its steps until they help instead of keeping to a trust region, and
    so needs a good start. `tolerance` is what `levenberg_marquardt` says.

    Raises what `cr.jacobian` raises, and NonFiniteError where the residuals at x0 or their
    derivatives are not finite.
    """
    checks.one_of("least_squares", "method", method, _LEAST_SQUARES)
    limit = checks.whole("least_squares", "max_iterations", max_iterations)
    optimizer = _LEAST_SQUARES[method](tolerance=tolerance)
    of_values = _cached(_residual_program, residuals, backend)
    of_both = _cached(_jacobian_program, residuals, backend)
    space = _Space("least_squares", x0)

    def values(x: Vector) -> Vector:
        return np.asarray(of_values(space.tree(x), *args), np.float64)

    def linearised(x: Vector) -> tuple[Vector, Array]:
        r, jacobian = of_both(space.tree(x), *args)
        return np.asarray(r, np.float64), jacobian

    alone, both = Remembered(values), Remembered(linearised)
    _check_start(residuals, *both(space.vector(x0)))
    problem = Residuals(alone, both, space.packing.rounded, space.packing.precision)
    end, iterations = _iterated(optimizer, problem, space.vector(x0), space, limit)
    r, jacobian = both(end.x)
    covariance = _covariance(r, jacobian, space.packing.precision)
    errors = None if covariance is None else np.sqrt(np.diagonal(covariance))
    return Fit(
        x=space.tree(end.x),
        value=float(r @ r),
        residuals=r,
        jacobian=jacobian,
        covariance=covariance,
        standard_errors=None if errors is None else space.tree(errors),
        gradient_norm=float(np.linalg.norm(jacobian.T @ r)),
        iterations=iterations,
        evaluations=alone.runs + both.runs,
        converged=end.converged,
        message=end.ended,
    )


def _covariance(r: Vector, jacobian: Array, precision: float) -> Array | None:
    rows, columns = jacobian.shape
    model = LinearModel(r, jacobian, np.zeros(columns), precision)
    if rows <= columns or not model.full_rank:
        return None
    return np.asarray(model.covariance() * (float(r @ r) / (rows - columns)))


# --- running --------------------------------------------------------------------------------


class _Space:
    """A tree of arrays as one vector, and back."""

    def __init__(self, owner: str, x0: Any) -> None:
        found = trees.leaves(x0)
        for leaf in found:
            if np.asarray(leaf.value).dtype.kind != "f":
                raise UsageError(
                    f"x0: {leaf.name} has dtype {leaf.value.dtype}, and only floating-point arrays "
                    "can be moved",
                    where=f"optim.{owner}",
                    do="cast it with .astype(float), or pass it behind x0 as an argument",
                )
        if not sum(np.size(leaf.value) for leaf in found):
            raise UsageError(
                f"x0 holds no numbers to move: {x0!r}",
                where=f"optim.{owner}",
                do="give an array, a float, or a dict or list of these",
            )
        self._x0, self._leaves = x0, found
        self.packing = Packing({leaf.name: np.asarray(leaf.value) for leaf in found})

    def tree(self, vector: Vector) -> Any:
        arrays = self.packing.unpack(vector)
        # A Python float stays one: beside float32 arrays it must not make float64 of them.
        return trees.replace_leaves(
            self._x0,
            [
                float(arrays[leaf.name]) if type(leaf.value) is float else arrays[leaf.name]
                for leaf in self._leaves
            ],
        )

    def vector(self, tree: Any) -> Vector:
        return self.packing.pack({leaf.name: leaf.value for leaf in trees.leaves(tree)})


def _iterated(
    optimizer: Optimizer, problem: Loss | Residuals, x: Vector, space: _Space, limit: int
) -> tuple[Iteration, int]:
    """Iterations until one ends it; the last, and how many steps were taken."""
    assert optimizer.full_batch is not None
    state = optimizer.init(space.packing.unpack(x))
    for number in range(limit):
        made = optimizer.full_batch.iterate(problem, state, x)
        if made.ended:
            return made, number
        x, state = made.x, made.state
    return Iteration(x, state, f"{limit} iterations were not enough"), limit


def _check_start(function: Function, value: Any, derivatives: Any) -> None:
    for what, numbers in (("value", value), ("derivative", derivatives)):
        if not np.isfinite(numbers).all():
            raise NonFiniteError(
                f"the {what} of {name_of(function)} at x0 is not finite",
                do="start from another x0",
            )


# --- programs -------------------------------------------------------------------------------


def _cached(make: Callable[..., Function], function: Function, backend: str | None) -> Function:
    """Kept, so that fitting the same function again (to other data) traces nothing anew."""
    try:
        return _kept(make, function, backend)
    except TypeError:  # a callable object without a hash
        return make(function, backend)


@functools.lru_cache(maxsize=_KEPT_PROGRAMS)
def _kept(make: Callable[..., Function], function: Function, backend: str | None) -> Function:
    return make(function, backend)


def _gradient_program(f: Function, backend: str | None) -> Function:
    return compile(value_and_grad(f), backend=backend)


def _residual_program(residuals: Function, backend: str | None) -> Function:
    @functools.wraps(residuals)
    def flat(*args: Any) -> Any:
        return residuals(*args).reshape(-1)

    return compile(flat, backend=backend)


def _jacobian_program(residuals: Function, backend: str | None) -> Function:
    both = value_and_jacobian(residuals)

    @functools.wraps(residuals)
    def flat(*args: Any) -> Any:
        r, found = both(*args)
        columns = [leaf.value.reshape(r.size, -1) for leaf in trees.leaves(found)]
        return r.reshape(-1), np.concatenate(columns, axis=1)

    return compile(flat, backend=backend)
