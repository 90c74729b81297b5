"""JAX: many steps in one dispatch, by lax.scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.peers import jax_step


class Peer(jax_step.Peer):
    def _make(self, step: Callable[..., Any]) -> None:
        def many(carry: Any, data: Any, rows: jax.Array) -> Any:
            return jax.lax.scan(lambda c, r: step(c, data, r), carry, rows)

        self._many = jax.jit(many, donate_argnums=0)

    def prepare(self, batches: np.ndarray) -> Any:
        if self._full:  # no rows to choose
            batches = np.zeros((len(batches), 1))
        return jax.block_until_ready(jnp.asarray(batches, jnp.int32))

    def run(self, prepared: Any) -> Any:
        self._carry, losses = self._many(self._carry, self._data, prepared)
        jax.block_until_ready(self._carry)
        return losses

    def losses(self, told: Any) -> list[float]:
        return np.asarray(told).tolist()
