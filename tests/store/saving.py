"""A process that saves checkpoints, to be killed: `python saving.py FOLDER FIRST COUNT [FLOATS]`.

It prints each step once its checkpoint is on disk; COUNT may be 0 for "until killed".
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np


def state(step: int, floats: int) -> dict[str, Any]:
    """Arrays that tell which step they belong to, element by element."""
    values = np.arange(floats, dtype=np.float32) + step
    return {"weight": values, "optimizer.count": np.array(step, dtype=np.int32)}


def main(path: str, first: int, count: int, floats: int = 250_000) -> None:
    from chainrule.errors import FileError
    from chainrule.store import CheckpointFolder

    folder = CheckpointFolder(path)
    steps = range(first, first + count) if count else itertools.count(first)
    for step in steps:
        try:
            folder.save(step, state(step, floats), {"step": step, "floats": floats})
        except FileError as error:
            print(error.what, error.do, sep="; ", flush=True)
            sys.exit(1)
        print(step, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
