"""chainrule: train neural networks by backpropagation, in plain NumPy.

    import numpy as np, chainrule as cr
    value, gradient = cr.value_and_grad(loss)(weights, x, y)
    run = cr.train(net, (x, y), loss="cross_entropy")

Outside of `grad`, `compile` and `train` every value is an ordinary array, and NumPy runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule import data, nn, optim
    from chainrule.checking import check_grads
    from chainrule.jacobians import jacobian
    from chainrule.loops import fixed_point, scan
    from chainrule.lowering import stages
    from chainrule.nn import load, save
    from chainrule.pipeline import compile, grad, hvp, stop_gradient, trace, value_and_grad
    from chainrule.tracing import random
    from chainrule.training import Run, load_run, train

__version__ = "0.1.0"

__all__ = [
    "Run",
    "check_grads",
    "compile",
    "data",
    "fixed_point",
    "grad",
    "hvp",
    "jacobian",
    "load",
    "load_run",
    "nn",
    "optim",
    "random",
    "save",
    "scan",
    "stages",
    "stop_gradient",
    "trace",
    "train",
    "value_and_grad",
]


_HOMES = {
    "checking": ["check_grads"],
    "jacobians": ["jacobian"],
    "lowering": ["stages"],
    "loops": ["fixed_point", "scan"],
    "nn": ["load", "save"],
    "pipeline": ["compile", "grad", "hvp", "stop_gradient", "trace", "value_and_grad"],
    "training": ["Run", "load_run", "train"],
}
_ROOMS = {"data": "data", "nn": "nn", "optim": "optim", "random": "tracing.random"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a name when it is first used: NumPy and the rooms around it are most of the time that a
    short command takes, and the command line answers Ctrl-C while they load."""
    if name in _ROOMS:
        found: Any = import_module(f"chainrule.{_ROOMS[name]}")
    elif name in _HOME_OF:
        found = getattr(import_module(f"chainrule.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
