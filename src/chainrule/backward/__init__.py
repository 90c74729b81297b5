"""Backpropagation: Graph -> Graph.

Receives: a result and the nodes it is to be differentiated by. Returns: nodes of the same graph
that compute the derivatives, so they can be simplified, compiled, shown, and differentiated again.
Next: `rewrite`.
"""

from chainrule.backward import linear_loops, loops, windows
from chainrule.backward.gradients import gradients
from chainrule.backward.loops import stored_bytes
from chainrule.backward.rules import NO_DELTA, RULES

__all__ = ["NO_DELTA", "RULES", "gradients", "linear_loops", "loops", "stored_bytes", "windows"]
