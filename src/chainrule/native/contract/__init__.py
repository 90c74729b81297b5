"""Contractions: a micro-kernel for each shape.

Receives: a region that a contraction leads, and how many threads will share it. Returns: its
kernel's code. Next: `program` calls the kernel.

`plans` chooses the letters' loops and the blocks by what `costs` says, `packing` copies one operand
into the order in which it is read, `tile` is the micro-kernel, `finish` what is elementwise behind
it, and `emit` puts them together.
"""

from __future__ import annotations

from chainrule.native.contract.emit import behind, emit_contract
from chainrule.native.contract.plans import Plan, best_grain, plan

__all__ = ["Plan", "behind", "best_grain", "emit_contract", "plan"]
