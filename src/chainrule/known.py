"""The last few things that were made, by what they depend on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Known(Generic[Made]):
    """The last `most` things that were made, by key; safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Any, Made] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        """What was made for this key, else what `make` makes now; kept unless the key is None."""
        if key is None:
            return make()
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = make()
        with self._lock:
            self._made[key] = made
            if len(self._made) > self._most:
                self._made.popitem(last=False)
        return made
