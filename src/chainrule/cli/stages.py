"""`chainrule stages`: a function from a Python file, at every stage from its trace to machine code.

The file is run, as `python FILE.py` would: it is the person's own program, named to be run. No file
of data and no saved network is ever treated so.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import json_text, tell
from chainrule.errors import ChainruleError, FileError, UsageError, unknown
from chainrule.lowering import MEANING, stages

Function: TypeAlias = Callable[..., Any]
EXAMPLE = "example"  # what the file calls the arguments
_DO = "define it: example = (x, y), the arguments that the function is shown for"


def run_stages(arguments: Arguments) -> int:
    """Prints every stage, or the one that is asked for."""
    if arguments.stage is not None and arguments.stage not in MEANING:
        raise unknown("stage", arguments.stage, MEANING)
    path = Path(arguments.file)
    module = _run(path)
    function = _function(module, path, arguments.function)
    example = _example(module, path)
    with _told_in_a_line(path):
        found = stages(function, *example)
    if arguments.stage is not None and arguments.stage not in found:
        raise UsageError(
            f"{found.name} has no stage {arguments.stage}: it does not return one number, or its "
            "first argument has no gradient",
            do=f"choose one of: {', '.join(found)}",
        )
    if arguments.json:
        kernels = [asdict(kernel) for kernel in found.kernels]
        shown = {k: v for k, v in found.items() if arguments.stage in (None, k)}
        tell(json_text({"function": found.name, "stages": shown, "kernels": kernels}))
    else:
        tell(str(found) if arguments.stage is None else found[arguments.stage])
    return 0


def _run(path: Path) -> ModuleType:
    """The module that a Python file makes."""
    if not path.is_file():
        raise FileError(f"there is no file {path}", do="give the path of a Python file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileError(f"{path} is not a Python file", do="give a file whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for what it runs
    with _told_in_a_line(path):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _told_in_a_line(path: Path) -> Iterator[None]:
    """What goes wrong in the person's own code is told without a traceback, as all mistakes are."""
    try:
        yield
    except ChainruleError:
        raise
    except (Exception, SystemExit) as error:
        raise ChainruleError(
            f"{path} ended in {type(error).__name__}: {error}",
            where=_line(error, path),
            do="mend it: python must be able to run it",
        ) from error


def _line(error: BaseException, path: Path) -> str | None:
    """The last line of the file that the error came through."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
    return f"{path}:{lines[-1]}" if lines else None


def _function(module: ModuleType, path: Path, name: str | None) -> Function:
    own: dict[str, Function] = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and callable(value)
        and not isinstance(value, type)
        and getattr(value, "__module__", None) == module.__name__
    }
    if name is not None:
        found: Any = vars(module).get(name)
        if not callable(found):
            raise unknown("function", name, own)
        return cast(Function, found)
    if len(own) == 1:
        (function,) = own.values()
        return function
    if not own:
        raise UsageError(f"{path} defines no function", do="define one, or name one: --function")
    names = ", ".join(own)
    raise UsageError(f"{path} defines several functions: {names}", do="name one: --function NAME")


def _example(module: ModuleType, path: Path) -> tuple[Any, ...]:
    found = vars(module).get(EXAMPLE)
    if found is None:
        raise UsageError(f"{path} gives no example arguments", do=_DO)
    if not isinstance(found, tuple):
        raise UsageError(
            f"{EXAMPLE} is {type(found).__name__}, not a tuple", where=f"{path}", do=_DO
        )
    return found
