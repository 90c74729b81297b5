"""One watcher that fails takes nothing from the others."""

from __future__ import annotations

from typing import Any

import pytest

from chainrule.observe import Event, Saved, fan_out

EVENT = Saved(10, 0, "checkpoints/000000010.safetensors")


def failing(error: BaseException) -> Any:
    def watch(event: Event) -> None:
        raise error

    return watch


def test_every_watcher_gets_every_event_in_order() -> None:
    seen: list[tuple[str, Event]] = []
    watch = fan_out(
        [lambda event: seen.append(("a", event)), lambda event: seen.append(("b", event))]
    )
    watch(EVENT)
    assert seen == [("a", EVENT), ("b", EVENT)]


def test_the_others_get_the_event_and_then_the_first_error_is_raised() -> None:
    seen: list[Event] = []
    first, second = ValueError("mine"), OSError("disk full")
    watch = fan_out([failing(first), seen.append, failing(second), seen.append])
    with pytest.raises(ValueError, match="mine") as caught:
        watch(EVENT)
    assert caught.value is first
    assert caught.value.__notes__ == ["another watcher failed too: OSError: disk full"]
    assert seen == [EVENT, EVENT]


def test_ctrl_c_is_raised_at_once() -> None:
    seen: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        fan_out([failing(KeyboardInterrupt()), seen.append])(EVENT)
    assert seen == []
