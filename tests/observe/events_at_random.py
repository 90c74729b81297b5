"""Strategies for events: any value that a field's type allows."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from chainrule.observe import Evaluated, Progress, RunStarted
from chainrule.observe.events import Event

# Names of files may hold bytes that are no text; Python keeps them as lone surrogates.
TEXT = st.text(max_size=10) | st.sampled_from(["nan", "inf", "text:", "text:nan", "\udcff", "\n"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=5,
)
KINDS = [kind for kind in typing.get_args(Event) if kind is not Progress]


def values(hint: Any) -> st.SearchStrategy[Any]:
    plain = {int: st.integers(0, 10**6), bool: st.booleans(), float: st.floats(), str: TEXT}
    if hint in plain:
        return plain[hint]
    if hint is Any:
        return JSON
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return st.none() | values(arguments[0])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    assert origin is Mapping, hint
    return st.dictionaries(TEXT, values(arguments[1]), max_size=3)


def of_kind(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values(hint) for name, hint in hints.items()})


EVENTS = st.one_of(*(of_kind(kind) for kind in KINDS))


def in_one_session(events: list[Any]) -> list[Any]:
    """The events as one run tells them: steps that go up, one start, nothing told twice."""
    ordered = [
        event if isinstance(event, Evaluated) else replace(event, step=step)
        for step, event in enumerate(event for event in events if not isinstance(event, RunStarted))
    ]
    return [event for event in events if isinstance(event, RunStarted)][:1] + ordered
