"""Checks that hold for every graph between any two passes."""

from __future__ import annotations

from chainrule.errors import ChainruleError
from chainrule.graph.node import Graph, ancestors
from chainrule.graph.ops import OPS, WITH_BODY
from chainrule.graph.types import TupleType


class InvalidGraphError(ChainruleError, AssertionError):
    """A pass produced a graph that breaks a rule: a fault in chainrule, not in user code."""


def verify(graph: Graph) -> Graph:
    """The graph itself, when it is sound; InvalidGraphError naming the node otherwise.

    Every op is in the table with its attributes and arity, every type is what inference gives,
    operands come before their users, and every `input` reached is one of the graph's inputs. The
    same holds for the bodies of loops.
    """
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        raise InvalidGraphError(f"graph {graph.name}: the same input twice")
    if len(graph.outputs) != len(graph.output_names):
        raise InvalidGraphError(f"graph {graph.name}: outputs and their names differ in number")
    for node in graph.outputs:
        if isinstance(node.type, TupleType):
            raise InvalidGraphError(f"graph {graph.name}: an output of type {node.type}")
    for node in ancestors([*graph.inputs, *graph.outputs]):
        where = f"{node!r} {node.origin}"
        op = OPS.get(node.op)
        if op is None:
            raise InvalidGraphError(f"no op named {node.op!r}", where=where)
        if op.arity is not None and len(node.operands) != op.arity:
            raise InvalidGraphError(f"{op.name} takes {op.arity} operands", where=where)
        if set(node.attributes) != set(op.attributes):
            raise InvalidGraphError(f"{op.name} has attributes {op.attributes}", where=where)
        if any(operand.serial >= node.serial for operand in node.operands):
            raise InvalidGraphError("an operand is younger than its user", where=where)
        if node.op == "input" and node not in inputs:
            raise InvalidGraphError("an input that the graph does not declare", where=where)
        try:
            inferred = op.infer(tuple(n.type for n in node.operands), node.attributes)
        except ChainruleError as error:
            raise InvalidGraphError(f"{op.name}: {error.what}", where=where) from error
        if node.op in WITH_BODY:
            verify(node["body"])
        if inferred != node.type:
            raise InvalidGraphError(f"{op.name} is {inferred}, not {node.type}", where=where)
    return graph
