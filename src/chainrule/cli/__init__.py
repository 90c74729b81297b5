"""The command line: every command of `chainrule`.

Receives: arguments. Returns: an exit code: 0 done, 1 failed, 2 used wrongly, 130 interrupted (and
saved). Results go to stdout, progress and messages to stderr; with `--json` the last line of
stdout is one JSON object. A mistake of the user's never shows a traceback.

This module imports nothing that takes time, so that Ctrl-C is answered from the first moment on.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
_AS_JSON = (
    '{"error": {"kind": "KeyboardInterrupt", "what": "interrupted", "where": null, "do": null}}'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; `argv` defaults to the process's own arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with interrupts_held():
            from chainrule.cli.dispatch import dispatch
        return dispatch(words)
    except KeyboardInterrupt:
        print("chainrule: interrupted", file=sys.stderr)
        if "--json" in words:
            print(_AS_JSON)
        return INTERRUPTED


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Answers Ctrl-C after what is done within: a library that is interrupted while it is imported
    may turn that into errors of its own."""
    asked: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not own or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt
