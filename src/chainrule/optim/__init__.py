"""Optimisers: from gradients to the next weights.

Receives: gradients, state and weights, as dicts by weight name. Returns: updates, which are added
to the weights, and the next state. Next: `training` puts `update` into the step that it builds.

    optim.adam(1e-3)
    optim.sgd(0.1, momentum=0.9, nesterov=True)
    optim.chain(optim.clip_by_global_norm(1.0), optim.adam(optim.schedules.cosine(1e-3, 5000)))

Everything is one type, `Optimizer`, a pair of pure functions (init, update) that `chain` composes.
Full-batch methods (L-BFGS, Levenberg-Marquardt) are given the function itself instead, in `train`
with batch_size=None, or without a network:

    optim.minimize(f, x0)
    optim.least_squares(lambda b, x, y: b[0] * np.exp(-b[1] * x) - y, b0, x, y)
"""

from __future__ import annotations

from chainrule.optim import schedules
from chainrule.optim.adaptive import adadelta, adagrad, adam, adamw, rmsprop
from chainrule.optim.adjustments import decoupled_weight_decay, reduce_on_plateau
from chainrule.optim.averaging import exponential_average, running_average
from chainrule.optim.chaining import chain
from chainrule.optim.descent import sgd
from chainrule.optim.drivers import Fit, Result, least_squares, minimize
from chainrule.optim.gauss_newton import levenberg_marquardt
from chainrule.optim.gradients import (
    clip_by_global_norm,
    clip_by_value,
    global_norm,
    l1_penalty,
    l2_penalty,
)
from chainrule.optim.optimizer import Optimizer, to_json
from chainrule.optim.quasi_newton import lbfgs
from chainrule.optim.registry import as_optimizer, by_name, from_json, names
from chainrule.optim.resilient import rprop
from chainrule.optim.schedules import Schedule

__all__ = [
    "Fit",
    "Optimizer",
    "Result",
    "Schedule",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "as_optimizer",
    "by_name",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "decoupled_weight_decay",
    "exponential_average",
    "from_json",
    "global_norm",
    "l1_penalty",
    "l2_penalty",
    "lbfgs",
    "least_squares",
    "levenberg_marquardt",
    "minimize",
    "names",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "running_average",
    "schedules",
    "sgd",
    "to_json",
]
