"""JAX: one jitted step with donated buffers, dispatched from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.cases import Case
from bench.peers.jax_networks import NETWORKS


def _rows_of(array: jax.Array, rows: jax.Array) -> jax.Array:
    """Rows that are known to be there: no time goes into others."""
    return array.at[rows].get(mode="promise_in_bounds")


class Peer:
    def __init__(self, case: Case) -> None:
        weights, state, apply = NETWORKS[type(case.network)](case.network, case.weights())
        optimizer = {"sgd": optax.sgd, "adam": optax.adam}[case.optimizer](case.learning_rate)
        self._full = case.full

        def loss(weights: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
            outputs, state = apply(weights, state, x)
            if case.loss == "mse":
                return jnp.mean((outputs - y) ** 2), state
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), state

        def step(carry: Any, data: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
            weights, moments, state = carry
            x, y = data if case.full else (_rows_of(a, rows) for a in data)
            differentiated = jax.value_and_grad(loss, has_aux=True)
            (value, state), gradient = differentiated(weights, state, x, y)
            updates, moments = optimizer.update(gradient, moments, weights)
            return (optax.apply_updates(weights, updates), moments, state), value

        weights, state = jax.tree.map(jnp.asarray, (weights, state))
        self._carry = (weights, optimizer.init(weights), state)
        self._data = tuple(jnp.asarray(a) for a in case.data())
        self._make(step)

    def _make(self, step: Callable[..., Any]) -> None:
        self._step = jax.jit(step, donate_argnums=0)

    def prepare(self, batches: np.ndarray) -> Any:
        if self._full:  # no rows to choose
            batches = np.zeros((len(batches), 1))
        chosen = [jnp.asarray(rows, jnp.int32) for rows in batches]
        return jax.block_until_ready(chosen)

    def run(self, prepared: Any) -> Any:
        losses = []
        for rows in prepared:
            self._carry, value = self._step(self._carry, self._data, rows)
            losses.append(value)
        jax.block_until_ready(self._carry)
        return losses

    def losses(self, told: Any) -> list[float]:
        return [float(v) for v in told]
