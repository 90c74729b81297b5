"""Nets as files: one safetensors file with the arrays and a JSON description."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DamagedFileError, UsageError
from chainrule.nn.codec import from_json, to_json
from chainrule.store import load_tensors, save_tensors
from chainrule.tracing.trees import is_array, leaves

SUFFIX = ".safetensors"


def save(path: str | os.PathLike[str], net: Any) -> Path:
    """Saves a net to one file, whole or not at all, and returns the file's path.

    A path without a suffix gets ".safetensors". Raises UsageError, naming the place, for a net that
    a file cannot hold (a lambda between its layers), FileError where the file cannot be written.
    """
    target = _with_suffix(path)
    structure = to_json(net)
    arrays = {leaf.name: np.asarray(leaf.value) for leaf in leaves(net) if is_array(leaf.value)}
    save_tensors(target, arrays, {"net": structure})
    return target


def load(path: str | os.PathLike[str], layers: Iterable[type] = ()) -> Any:
    """The net that `save` saved, bit for bit. No code is loaded from the file.

    `layers` are the classes of your own layers in it. Raises FileError where there is no such
    file, DamagedFileError for one that is damaged or holds no net, UsageError for a layer class
    that is neither one of ours nor in `layers`.
    """
    source = _with_suffix(path)
    arrays, info = load_tensors(source)
    if "net" not in info:
        raise DamagedFileError(
            f"{source.name} holds no net",
            where=str(source),
            do="give a file that cr.save wrote, or the net file of a run",
        )
    try:
        return from_json(info["net"], arrays, layers)
    except ChainruleError as error:
        raise type(error)(error.what, where=str(source), do=error.do) from None


def _with_suffix(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if not target.name:
        raise UsageError(f"{os.fspath(path)!r} names no file", do="give a path such as 'net'")
    return target if target.suffix else target.with_name(target.name + SUFFIX)
