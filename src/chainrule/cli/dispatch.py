"""From words to the command that they name, and from every error to its message and exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from chainrule.cli import interrupts_held
from chainrule.cli.parser import Arguments, parse
from chainrule.cli.speaking import as_called, json_text, say, tell
from chainrule.errors import ChainruleError, UsageError

DONE, FAILED, BAD_USE = 0, 1, 2


def dispatch(words: Sequence[str]) -> int:
    """The exit code of one command line."""
    try:
        code = _guarded(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away: nothing to say, and to nobody
        code = FAILED
    except OSError as error:
        say(f"chainrule: error: the output cannot be written: {error.strerror or error}")
        code = FAILED
    finally:
        for stream in (sys.stdout, sys.stderr):
            _settle(stream)
    return code


def _guarded(words: Sequence[str]) -> int:
    """The exit code of a command, its errors told. Raises OSError where stdout takes no more."""
    try:
        arguments = parse(words)
        with interrupts_held():
            run = _command(arguments, words)
        return run()
    except SystemExit as done:  # help and the version, which argparse ends with
        return int(done.code or DONE)
    except ChainruleError as error:
        return _failed(error, words)
    except MemoryError:
        do = "use a smaller network (--hidden) or batch (--batch-size)"
        return _failed(ChainruleError("there is not enough memory", do=do), words)


def _command(arguments: Arguments, words: Sequence[str]) -> Callable[[], int]:
    """Imports only what the command needs."""
    if arguments.command == "train":
        from chainrule.cli.train import run_train

        return lambda: run_train(arguments, words)
    if arguments.command == "predict":
        from chainrule.cli.predict import run_predict

        return lambda: run_predict(arguments)
    if arguments.command == "generate":
        from chainrule.cli.generate import run_generate

        return lambda: run_generate(arguments)
    if arguments.command == "explain":
        from chainrule.cli.explain import run_explain

        return lambda: run_explain(arguments)
    if arguments.command == "stages":
        from chainrule.cli.stages import run_stages

        return lambda: run_stages(arguments)
    if arguments.command == "profile":
        from chainrule.cli.profile import run_profile

        return lambda: run_profile(arguments)
    if arguments.command == "cache":
        from chainrule.cli.cache import run_cache

        return lambda: run_cache(arguments)
    from chainrule.cli.report import run_report

    return lambda: run_report(arguments)


def _failed(error: ChainruleError, words: Sequence[str]) -> int:
    say(f"chainrule: error: {error}")
    if "--json" in words:
        parts = {"what": error.what, "where": error.where, "do": error.do}
        told = {name: text and as_called(text) for name, text in parts.items()}
        tell(json_text({"error": {"kind": type(error).__name__, **told}}))
    return BAD_USE if isinstance(error, UsageError) else FAILED


def _settle(stream: TextIO | None) -> None:
    """Points a stream that takes no more at nothing, so that Python's exit does not trip over what
    is left in its buffer."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
