"""The graph: immutable typed nodes over a closed table of about fifty primitive ops.

Receives: ops applied to nodes, from tracing, backward and rewrite. Returns: a `Graph` that can be
walked, verified, printed and parsed back. Next: `backward` (gradients), `rewrite` (a cheaper
graph), `reference` (its meaning, executed).
"""

from chainrule.graph.node import (
    Graph,
    Node,
    Origin,
    ancestors,
    current_origin,
    made_by,
    multiply_adds,
    users,
)
from chainrule.graph.ops import OPS, WITH_BODY, Op
from chainrule.graph.parse import from_text
from chainrule.graph.text import to_text
from chainrule.graph.types import ArrayType
from chainrule.graph.verify import InvalidGraphError, verify

__all__ = [
    "OPS",
    "WITH_BODY",
    "ArrayType",
    "Graph",
    "InvalidGraphError",
    "Node",
    "Op",
    "Origin",
    "ancestors",
    "current_origin",
    "from_text",
    "made_by",
    "multiply_adds",
    "to_text",
    "users",
    "verify",
]
