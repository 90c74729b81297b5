"""One watcher made of several."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.observe.events import Event, Watcher


def fan_out(watchers: Iterable[Watcher]) -> Watcher:
    """A watcher that hands each event to all of `watchers`, in order.

    When one of them raises, the others still get the event; then the first error is raised, with
    the later ones as notes, so that the loop can save before it stops. What is no Exception
    (Ctrl-C) is raised at once.
    """
    watching = tuple(watchers)

    def watch(event: Event) -> None:
        first: Exception | None = None
        for watcher in watching:
            try:
                watcher(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                if first is None:
                    first = error
                else:
                    first.add_note(f"another watcher failed too: {type(error).__name__}: {error}")
        if first is not None:
            raise first

    return watch
