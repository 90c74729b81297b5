"""The reference interpreter: what each op means, in NumPy, one function per op.

Receives: a Graph and arrays. Returns: arrays. Next: nobody. This is the definition; every other
backend is tested against it. It is also a complete backend: `Interpreter` plans a graph once
(order, lifetimes) and then runs it with little overhead per op.
"""

from chainrule.reference import contraction, loops, moving, windows
from chainrule.reference.elementwise import erf
from chainrule.reference.interpreter import Interpreter, evaluate, one_blas_thread
from chainrule.reference.table import KERNELS

OPS_WITH_MEANING = frozenset(KERNELS) | {"input"}

__all__ = [
    "KERNELS",
    "OPS_WITH_MEANING",
    "Interpreter",
    "contraction",
    "erf",
    "evaluate",
    "loops",
    "moving",
    "one_blas_thread",
    "windows",
]
