"""Going on with a stopped run: what a checkpoint holds, and what may not have changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DamagedFileError, UsageError
from chainrule.tracing import trees
from chainrule.training.loop import Best
from chainrule.training.progress import Standing
from chainrule.training.rundir import RunDirectory
from chainrule.training.step import Carry, Layout

# What must be the same for a resumed run to end in the bits of the uninterrupted one.
_FIXED = ("net", "loss", "optimizer", "row_weights")
_FIXED_SETTINGS = ("batch_size", "validation", "seed", "patience", "class_weights")


def digest(array: np.ndarray) -> str:
    """A short name for the contents of an array."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.blake2b(plain.tobytes(), digest_size=16).hexdigest()


def pack(layout: Layout, carry: Carry, best: Best | None) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, by name."""
    arrays = dict(zip(layout.names(), carry, strict=True))
    if best is not None:
        names = _network_names(layout)
        arrays |= {f"best.{n}": a for n, a in zip(names, best.arrays, strict=True)}
    return arrays


def _network_names(layout: Layout) -> list[str]:
    return [leaf.name for leaf in trees.leaves(layout.net)]


def unpack(
    layout: Layout, carry: Carry, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]
) -> tuple[Carry, Standing, Best | None]:
    """The carry, the standing and the best network of a checkpoint; DamagedFileError where it
    belongs to another network or optimiser."""
    names = layout.names()
    for name, like in zip(names, carry, strict=True):
        found = arrays.get(name)
        if found is None or (found.shape, found.dtype) != (like.shape, like.dtype):
            got = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise DamagedFileError(
                f"the checkpoint is of another network or optimiser: {name} is {got}, not "
                f"{like.dtype}{list(like.shape)}",
                do="resume with the network and the optimiser that the run began with",
            )
    best = None
    wanted = [f"best.{n}" for n in _network_names(layout)]
    if wanted and all(n in arrays for n in wanted):
        best = Best([np.array(arrays[n]) for n in wanted])
    # Copies lie in memory as NumPy lays out its own arrays, as those of the running steps did.
    return [np.array(arrays[n]) for n in names], Standing.from_json(info.get("standing")), best


def backend_of(run_dir: str | os.PathLike[str] | None) -> str | None:
    """The backend that the run in a directory was started on."""
    if run_dir is None:
        raise UsageError("resume needs the run_dir to go on with")
    backend = RunDirectory(run_dir).read_config()["settings"].get("backend")
    return None if backend is None else str(backend)


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A run can only be resumed as what it was."""
    pairs = [(k, saved.get(k), now[k]) for k in _FIXED]
    pairs += [(k, saved["settings"].get(k), now["settings"][k]) for k in _FIXED_SETTINGS]
    for name, before, after in pairs:
        after = list(after) if isinstance(after, tuple) else after
        if before != after:
            raise UsageError(
                f"the run was started with another {name}: {_short(before)}, now {_short(after)}",
                do="resume it with the settings it was started with, or start a new run",
            )
    if saved["dataset"]["fingerprint"] != now["dataset"]["fingerprint"]:
        raise UsageError(
            f"the data of {saved['dataset']['name']} are not those the run was started with",
            do="restore the data, or start a new run",
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
