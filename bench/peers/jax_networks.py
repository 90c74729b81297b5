"""The architectures in JAX.

Each builder takes the network and its weights, and gives the weights as JAX likes them, the state
that changes without gradients, and apply(weights, state, x) -> (outputs, state).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.convolutions import CNN, Convolution, ResNet
from bench.networks import MLP, Weights
from bench.sequences import GPT, Recurrent

Tree = dict[str, Any]
Apply = Callable[[Tree, Tree, jax.Array], tuple[jax.Array, Tree]]
Built = tuple[Weights, Weights, Apply]
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def _dense(weights: Tree, name: str, x: jax.Array) -> jax.Array:
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _dense_layers(weights: Tree, count: int, activation: Any, x: jax.Array) -> jax.Array:
    for number in range(count):
        x = _dense(weights, f"dense{number}", x)
        x = activation(x) if number + 1 < count else x
    return x


def _mlp(network: MLP, weights: Weights) -> Built:
    activation = ACTIVATIONS[network.activation]

    def apply(weights: Tree, state: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        return _dense_layers(weights, len(network.widths) - 1, activation, x), state

    return weights, {}, apply


# --- pictures ---------------------------------------------------------------------------------


def _convolved(x: jax.Array, weight: jax.Array, border: int, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        weight,
        (stride, stride),
        ((border, border), (border, border)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _pooled(x: jax.Array, kind: str) -> jax.Array:
    """Over 2 x 2 places, as an axis of its own."""
    rows, height, width, channels = x.shape
    windows = x.reshape(rows, height // 2, 2, width // 2, 2, channels)
    return windows.max((2, 4)) if kind == "max" else windows.mean((2, 4))


def _cnn(network: CNN, weights: Weights) -> Built:
    activation = ACTIVATIONS[network.activation]

    def apply(weights: Tree, state: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        for number in range(len(network.channels) - 1):
            x = _convolved(x, weights[f"conv{number}.weight"], network.border)
            x = _pooled(activation(x + weights[f"conv{number}.bias"]), network.pool)
        x = x.reshape(len(x), -1)
        return _dense_layers(weights, len(network.dense), activation, x), state

    return weights, {}, apply


def _resnet(network: ResNet, weights: Weights) -> Built:
    convolutions = [network.stem, *(c for stack in network.stacks() for c in stack if c)]
    running = {f"{c.name}.mean": np.zeros(c.outputs, np.float32) for c in convolutions}
    running |= {f"{c.name}.var": np.ones(c.outputs, np.float32) for c in convolutions}

    def apply(weights: Tree, state: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        after = {}

        def normed(c: Convolution, x: jax.Array) -> jax.Array:
            x = _convolved(x, weights[f"{c.name}.weight"], c.kernel // 2, c.stride)
            count, mean = math.prod(x.shape[:3]), x.mean((0, 1, 2))
            variance = (x * x).mean((0, 1, 2)) - mean * mean  # one pass, as Flax takes them
            for what, new in (("mean", mean), ("var", variance * (count / (count - 1)))):
                after[f"{c.name}.{what}"] = 0.9 * state[f"{c.name}.{what}"] + 0.1 * new
            factor = lax.rsqrt(variance + 1e-5) * weights[f"{c.name}.scale"]
            return (x - mean) * factor + weights[f"{c.name}.shift"]

        x = jax.nn.relu(normed(network.stem, x))
        for first, second, across in network.stacks():
            inner = normed(second, jax.nn.relu(normed(first, x)))
            x = jax.nn.relu(inner + (normed(across, x) if across else x))
        return _dense(weights, "dense", x.mean((1, 2))), after

    return weights, running, apply


# --- sequences --------------------------------------------------------------------------------


def _embedded(weights: Tree, symbols: jax.Array) -> jax.Array:
    return weights["embedding.weight"].at[symbols].get(mode="promise_in_bounds")


def _rnn(weights: Tree, driven: jax.Array, state: Any) -> Any:
    return jnp.tanh(driven + state @ weights["layer.recurrent"])


def _gru(weights: Tree, driven: jax.Array, state: Any) -> Any:
    of_input = jnp.split(driven, 3, axis=-1)
    of_state = jnp.split(state @ weights["layer.recurrent"], 3, axis=-1)
    reset, update = (jax.nn.sigmoid(of_input[n] + of_state[n]) for n in range(2))
    seen = reset * (of_state[2] + weights["layer.candidate_bias"])
    candidate = jnp.tanh(of_input[2] + seen)
    return candidate + update * (state - candidate)


def _lstm(weights: Tree, driven: jax.Array, state: Any) -> Any:
    output, cell = state
    gates = jnp.split(driven + output @ weights["layer.recurrent"], 4, axis=-1)
    enter, keep, leave = (jax.nn.sigmoid(gates[n]) for n in (0, 1, 3))
    cell = keep * cell + enter * jnp.tanh(gates[2])
    return leave * jnp.tanh(cell), cell


def _recurrent(network: Recurrent, weights: Weights) -> Built:
    next_state = {"rnn": _rnn, "gru": _gru, "lstm": _lstm}[network.kind]

    def apply(weights: Tree, state: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        by_time = _embedded(weights, x.T)
        driven = by_time @ weights["layer.weight"] + weights["layer.bias"]
        zeros = jnp.zeros((len(x), network.width), jnp.float32)
        begin = (zeros, zeros) if network.kind == "lstm" else zeros

        def step(before: Any, driven: jax.Array) -> tuple[Any, jax.Array]:
            after = next_state(weights, driven, before)
            return after, after[0] if network.kind == "lstm" else after

        _, outputs = lax.scan(step, begin, driven)
        return _dense(weights, "dense", outputs).swapaxes(0, 1), state

    return weights, {}, apply


def _normed(weights: Tree, name: str, x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    normal = centred * lax.rsqrt(variance + 1e-5)
    return normal * weights[f"{name}.scale"] + weights[f"{name}.shift"]


def _attended(network: GPT, weights: Tree, name: str, x: jax.Array) -> jax.Array:
    """Causal attention; query, key and value come from one product."""
    rows, time, width = x.shape
    split = _dense(weights, f"{name}.projected", x).reshape(rows, time, 3, network.heads, -1)
    query, key, value = (split[:, :, n].swapaxes(1, 2) for n in range(3))
    scores = jnp.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(width // network.heads)
    allowed = np.tril(np.ones((time, time), np.bool_))
    shares = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf))
    read = jnp.einsum("bhqk,bhkd->bhqd", shares, value).swapaxes(1, 2)
    return _dense(weights, f"{name}.output", read.reshape(rows, time, width))


def _gpt(network: GPT, weights: Weights) -> Built:
    weights, names = dict(weights), [f"block{number}" for number in range(network.layers)]
    for name in names:
        for what in ("weight", "bias"):
            parts = [weights.pop(f"{name}.{part}.{what}") for part in ("query", "key", "value")]
            weights[f"{name}.projected.{what}"] = np.concatenate(parts, axis=-1)

    def apply(weights: Tree, state: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
        x = _embedded(weights, x) + weights["positions.table"]
        for name in names:
            read = _normed(weights, f"{name}.attention_norm", x)
            x = x + _attended(network, weights, name, read)
            hidden = _dense(weights, f"{name}.expand", _normed(weights, f"{name}.hidden_norm", x))
            x = x + _dense(weights, f"{name}.reduce", jax.nn.gelu(hidden, approximate=False))
        return _dense(weights, "dense", _normed(weights, "norm", x)), state

    return weights, {}, apply


NETWORKS: dict[type, Callable[..., Built]] = {
    MLP: _mlp,
    CNN: _cnn,
    ResNet: _resnet,
    Recurrent: _recurrent,
    GPT: _gpt,
}
