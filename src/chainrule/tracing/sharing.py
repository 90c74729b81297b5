"""What a program that several runs share depends on, as a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.tracing import trees
from chainrule.tracing.calls import type_key
from chainrule.tracing.closure import closure_key
from chainrule.tracing.context import current


def program_key(parts: Sequence[Any], settings: Any) -> Any:
    """A hashable key of what a program traced from these trees and objects depends on: their
    structure, the shapes of their arrays, all that their code sees, and the settings. None where
    that cannot be told, or where a forward pass is running, whose context code sees too."""
    if current() is not None:
        return None
    found: list[Any] = [settings]
    for part in parts:
        statics = [closure_key(one) for one in trees.opaque(part)]
        if None in statics:
            return None
        types = tuple(type_key(leaf.value) for leaf in trees.leaves(part))
        found.append((trees.structure(part), types, tuple(statics)))
    try:
        hash(tuple(found))
    except TypeError:
        return None
    return tuple(found)
