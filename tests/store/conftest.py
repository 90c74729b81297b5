"""An operating system that fails at a chosen call, for the code that saves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chainrule.store import atomic, checkpoints

CALLS = ("open", "dup", "write", "fsync", "close", "replace", "unlink")


class Killed(BaseException):
    """Stands for SIGKILL: nothing more reaches the disk, and nothing catches it."""


class FaultyOS:
    """The `os` module, whose `fail_at`-th call that matters to a save fails with errno `code`.

    With no `code` the process is killed there: every later call fails too, for a dead process
    cleans nothing up. Each write takes at most `shortest` bytes, as a real one may.
    """

    def __init__(self, fail_at: int, code: int | None, shortest: int) -> None:
        self.fail_at = fail_at
        self.code = code
        self.shortest = shortest
        self.calls: list[str] = []
        self.opened: set[int] = set()
        self.buried = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._watched(name, real) if name in CALLS and not self.buried else real

    @property
    def failed(self) -> bool:
        return len(self.calls) > self.fail_at

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            if self.code is None and self.failed:
                raise Killed
            if self.code is not None and len(self.calls) == self.fail_at + 1:
                if name == "close":  # one that fails has closed all the same
                    self._call(name, real, args)
                raise OSError(self.code, os.strerror(self.code))
            return self._call(name, real, args)

        return call

    def _call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name == "write":
            args = (args[0], args[1][: self.shortest])
        result = real(*args)
        if name in ("open", "dup"):
            self.opened.add(result)
        if name == "close":
            self.opened.discard(args[0])
        return result

    def bury(self) -> None:
        """Close what a killed process had open, as the kernel does; from now on nothing fails."""
        self.buried = True
        for descriptor in self.opened:
            os.close(descriptor)
        self.opened.clear()


Faulty = Callable[..., FaultyOS]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """A function that puts a `FaultyOS` under the saving code and returns it."""
    made: list[FaultyOS] = []

    def install(fail_at: int, code: int | None, shortest: int = 500) -> FaultyOS:
        made.append(FaultyOS(fail_at, code, shortest))
        monkeypatch.setattr(atomic, "os", made[-1])
        monkeypatch.setattr(checkpoints, "os", made[-1])
        return made[-1]

    yield install
    for broken in made:
        broken.bury()
