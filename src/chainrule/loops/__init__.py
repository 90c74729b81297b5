"""Loops that are one node of the graph: `cr.scan` over sequences, `cr.fixed_point` to rest.

Receives: a function of one step, and arrays. Returns: arrays; inside a trace, the parts of one
node whose body is the graph of a step. Next: `backward`, `rewrite`, a backend. On plain arrays both
are Python loops over NumPy.
"""

from chainrule.loops.implicit import FixedPoint, fixed_point
from chainrule.loops.scanning import scan

__all__ = ["FixedPoint", "fixed_point", "scan"]
