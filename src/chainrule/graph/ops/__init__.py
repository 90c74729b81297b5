"""The closed table of primitive ops: what each means, and the type of its result.

`reference` holds the executable meaning of each op, `backward` its derivative; a test holds that
none is missing. What can be written with these ops (softmax, convolution, Adam) is a plain function
elsewhere and needs no entry.

Elementwise ops want operands of one shape and dtype: broadcasting and casts are nodes of their
own, so that their gradients are too.
"""

from chainrule.graph.ops import elementwise, moving, windows
from chainrule.graph.ops.contraction import split_spec, strong_marks
from chainrule.graph.ops.loops import WITH_BODY
from chainrule.graph.ops.table import BOOL, INDEX, OPS, WORD, Op

__all__ = [
    "BOOL",
    "INDEX",
    "OPS",
    "WITH_BODY",
    "WORD",
    "Op",
    "elementwise",
    "moving",
    "split_spec",
    "strong_marks",
    "windows",
]
