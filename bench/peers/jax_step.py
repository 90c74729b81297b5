"""JAX: one jitted step with donated buffers, dispatched from Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.cases import Case


class Peer:
    def __init__(self, case: Case) -> None:
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[case.activation]
        optimizer = {"sgd": optax.sgd, "adam": optax.adam}[case.optimizer](case.learning_rate)

        def loss(weights, x, y):  # noqa: ANN001, ANN202
            for number, (weight, bias) in enumerate(weights):
                x = x @ weight + bias
                x = activation(x) if number + 1 < len(weights) else x
            if case.loss == "mse":
                return jnp.mean((x - y) ** 2)
            return optax.softmax_cross_entropy_with_integer_labels(x, y).mean()

        def step(carry, data, rows):  # noqa: ANN001, ANN202
            weights, state = carry
            x, y = data if case.full else (data[0][rows], data[1][rows])
            value, gradient = jax.value_and_grad(loss)(weights, x, y)
            updates, state = optimizer.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), value

        weights = [(jnp.asarray(w), jnp.asarray(b)) for w, b in case.weights()]
        self._carry = (weights, optimizer.init(weights))
        self._data = tuple(jnp.asarray(a) for a in case.data())
        self._make(step)

    def _make(self, step) -> None:  # noqa: ANN001
        self._step = jax.jit(step, donate_argnums=0)

    def run(self, batches: np.ndarray) -> list[float]:
        rows = jnp.asarray(batches)
        chosen = [rows[i] for i in range(len(batches))]
        jax.block_until_ready(chosen)
        losses = []
        for one in chosen:
            self._carry, value = self._step(self._carry, self._data, one)
            losses.append(value)
        jax.block_until_ready(self._carry)
        return [float(v) for v in losses]
