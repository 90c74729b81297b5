"""`chainrule cache`: where compiled code is kept, how much there is, and how to be rid of it."""

from __future__ import annotations

from typing import Any

from chainrule import config
from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import json_text, shown_path, tell
from chainrule.native import cache


def run_cache(arguments: Arguments) -> int:
    """Shows what is kept, and with --clear removes it first."""
    found = cache.contents()
    removed = cache.clear() if arguments.clear else None
    if arguments.json:
        now = cache.contents()
        told: dict[str, Any] = {
            "path": None if now is None else str(now.path),
            "entries": 0 if now is None else now.entries,
            "bytes": 0 if now is None else now.size,
            "most_bytes": config.CACHE_BYTES,
        }
        tell(json_text(told if removed is None else told | {"removed": removed}))
    elif found is None:
        tell("The cache is off: nothing is kept.")
    elif removed is not None:
        entries = "1 entry" if removed == 1 else f"{removed:,} entries"
        tell(f"removed {entries} ({_size(found.size)}) from {shown_path(found.path)}")
    else:
        tell(f"path     {shown_path(found.path)}")
        tell(f"entries  {found.entries:,}")
        tell(f"size     {_size(found.size)} of at most {_size(config.CACHE_BYTES)}")
    return 0


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number:,} bytes"
