"""Rewriting: Graph -> cheaper Graph of the same meaning.

Receives: a graph from tracing or backward. Returns: a graph with the same inputs and outputs.
Next: a backend. `PASSES` is the ordered list; `rewrite` runs it.
"""

from chainrule.rewrite.passes import PASSES, ROUNDING, Pass, rewrite

__all__ = ["PASSES", "ROUNDING", "Pass", "rewrite"]
