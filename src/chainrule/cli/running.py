"""A run as the command line makes it: what is said before and while it goes, and when it fails."""

from __future__ import annotations

import os
import sys
from typing import Any

from chainrule import training
from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import command, say, shown_path
from chainrule.errors import FileError, NonFiniteError
from chainrule.observe import Console
from chainrule.training import Run
from chainrule.training.prepare import Prepared
from chainrule.training.rundir import RunDirectory


def train(net: Any, prepared: Prepared, arguments: Arguments, run_dir: str, **options: Any) -> Run:
    """Trains with progress on stderr; the closing words are said by the caller."""
    options |= {"run_dir": run_dir, "backend": arguments.backend, "progress": False}
    options |= {"threads": arguments.threads}
    try:
        if arguments.quiet or sys.stderr is None:
            return training.train(net, prepared, **options)
        _describe(prepared, net)
        with Console(closing=False) as console:
            return training.train(net, prepared, watchers=(console,), **options)
    except NonFiniteError as error:
        raise _not_finite(error, run_dir, options["optimizer"]) from None
    except FileError as error:
        if not RunDirectory(run_dir).config.exists():
            raise
        mend = (error.do or "mend this").removesuffix(", then try again")
        do = f"{mend}, then go on with: {_resume(run_dir)}"
        raise type(error)(error.what, where=error.where, do=do) from error
    except KeyboardInterrupt:  # the second Ctrl-C: the person does not want to wait for the save
        if RunDirectory(run_dir).config.exists():
            say(f"what was saved last can be resumed: {_resume(run_dir)}")
        raise


def _describe(prepared: Prepared, net: Any) -> None:
    encoder = prepared.encoder
    say(prepared.dataset.describe() if encoder is None else encoder.describe())
    for note in () if encoder is None else encoder.notes():
        say(f"  {note}")
    say(f"network: {net}")


def _not_finite(error: NonFiniteError, run_dir: str, optimizer: Any) -> NonFiniteError:
    """The error in the words of the command line."""
    report = RunDirectory(run_dir).report
    kept = f"; the last good weights are in {shown_path(run_dir)}" if os.path.exists(report) else ""
    settings = optimizer.settings
    rate = settings.get("learning_rate")
    was = f" (it was {rate:g})" if isinstance(rate, float) else ""
    return NonFiniteError(
        error.what,
        where=error.where,
        do=f"train again with a smaller --learning-rate{was}{kept}",
    )


def _resume(run_dir: str | os.PathLike[str]) -> str:
    return command("train", "--resume", shown_path(run_dir))
