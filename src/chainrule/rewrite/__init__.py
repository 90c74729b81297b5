"""Rewriting: Graph -> cheaper Graph of the same meaning.

Receives: a graph from tracing or backward. Returns: a graph with the same inputs and outputs.
Next: a backend. `PASSES` is the ordered list; `rewrite` runs it.
"""

from chainrule.graph import Graph
from chainrule.rewrite.passes import PASSES, ROUNDING, Pass

__all__ = ["PASSES", "ROUNDING", "Pass", "rewrite"]


def rewrite(graph: Graph) -> Graph:
    """Runs every pass in order."""
    for _, run in PASSES:
        graph = run(graph)
    return graph
