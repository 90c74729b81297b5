"""One step of backpropagation on one row, in numbers and in the words around them.

Receives: the numbers of a step (`step`), made by `training.walkthrough`. Returns: sections of small
tables (`sections`), the same for every reader, shortened where a layer is large. Next: the
terminal (`cli.explain`) and the page (`report.walkthrough`), which only show them.
"""

from __future__ import annotations

from chainrule.observe.walkthrough.blocks import Block, Part, Row, Section, layer_titles
from chainrule.observe.walkthrough.decimals import aligned
from chainrule.observe.walkthrough.excerpt import telling_terms, telling_units
from chainrule.observe.walkthrough.sections import check_lines, sections
from chainrule.observe.walkthrough.step import (
    AGREES,
    AT_A_KINK,
    DIFFERS,
    ROUNDING,
    TOLERANCE,
    ErrorWalk,
    GradientCheck,
    LayerWalk,
    Subject,
    Walkthrough,
)

__all__ = [
    "AGREES",
    "AT_A_KINK",
    "DIFFERS",
    "ROUNDING",
    "TOLERANCE",
    "Block",
    "ErrorWalk",
    "GradientCheck",
    "LayerWalk",
    "Part",
    "Row",
    "Section",
    "Subject",
    "Walkthrough",
    "aligned",
    "check_lines",
    "layer_titles",
    "sections",
    "telling_terms",
    "telling_units",
]
