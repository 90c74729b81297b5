"""Optimisers and schedules print as the call that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def call_text(name: str, settings: Mapping[str, Any]) -> str:
    """`adam(learning_rate=0.001, ...)` from a name and settings that are JSON values."""
    if name == "chain":
        return f"chain({', '.join(_value_text(stage) for stage in settings['stages'])})"
    inside = ", ".join(f"{key}={_value_text(value)}" for key, value in settings.items())
    return f"{name}({inside})"


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        name = value["optimizer"] if "optimizer" in value else value["schedule"]
        return call_text(name, value["settings"])
    return repr(value)
