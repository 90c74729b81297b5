"""The whole engine once more, in plain NumPy, to be read in one sitting.

A dense network, its error, backpropagation and two optimisers, with no graph, no tape, and nothing
of chainrule. This page stays as it is: tests/test_engine.py holds that chainrule, from the same
weights and with the same batches, goes through the same losses and ends in the same weights.

    python docs/engine.py       learns the parity of 4 bits

The letters are the textbooks'. A layer has weights W [inputs, units] and biases b [units]:

    z = a @ W + b       the weighted sums      [rows, units]
    a' = f(z)           what it sends on; the last layer sends z itself, the logits
    E                   the error, one number: what training makes small
    delta = dE/dz       how the error changes with each weighted sum
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

Array = np.ndarray
Layer = tuple[Array, Array]  # W, b

# An activation, and its derivative written in what it returned, so that z need not be kept.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),  # 0 at the kink
}


# --- forward --------------------------------------------------------------------------------


def forward(layers: list[Layer], x: Array, activation: str) -> list[Array]:
    """What every layer is given, and at the end the logits: [x, a1, a2, ..., logits]."""
    f, _ = ACTIVATIONS[activation]
    values = [x]
    for number, (W, b) in enumerate(layers):
        z = values[-1] @ W + b
        values.append(f(z) if number < len(layers) - 1 else z)
    return values


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """E, the mean of -log(probability of the right class), and dE/dlogits.

    With p = softmax(z), the derivative of -log(p[label]) by z is p, less 1 at the label. The
    largest logit is taken off first: no probability changes, and no exponential overflows.
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    delta = np.exp(log_p)
    delta[rows, labels] -= 1
    return float(-log_p[rows, labels].mean()), delta / len(labels)


# --- backward -------------------------------------------------------------------------------


def backward(
    layers: list[Layer], values: list[Array], delta: Array, activation: str
) -> list[Layer]:
    """dE/dW and dE/db of every layer, from the last to the first: the chain rule, and no more.

    `delta` is dE/dz of the layer at hand. A weight's gradient is the sum over rows of its input
    times its unit's delta; the derivative by an input is the sum over units of weight times delta.
    """
    _, slope = ACTIVATIONS[activation]
    gradients: list[Layer] = []
    for number in reversed(range(len(layers))):
        W, _ = layers[number]
        a = values[number]  # what this layer was given
        gradients.append((a.T @ delta, delta.sum(axis=0)))
        if number > 0:
            delta = (delta @ W.T) * slope(a)  # dE/da, then through f to dE/dz of the layer before
    return gradients[::-1]


# --- update ---------------------------------------------------------------------------------


class Momentum:
    """Gradient descent with a heavy ball: v <- m v + g, w <- w - rate v (Polyak 1964)."""

    def __init__(self, rate: float, momentum: float = 0.0) -> None:
        self.rate, self.momentum = rate, momentum
        self.velocity: dict[int, Array] = {}

    def change(self, place: int, gradient: Array) -> Array:
        """What is added to the weights at `place`."""
        v = self.velocity.get(place, np.zeros_like(gradient))
        self.velocity[place] = self.momentum * v + gradient
        return -self.rate * self.velocity[place]


class Adam:
    """Steps in units of the gradient's own size (Kingma and Ba 2015, algorithm 1).

    m and s are running means of g and of g * g. They start at zero, so the first ones are too
    small by 1 - beta^t, which is divided out.
    """

    def __init__(
        self, rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        self.rate, self.beta1, self.beta2, self.eps = rate, beta1, beta2, eps
        self.moments: dict[int, tuple[Array, Array, int]] = {}

    def change(self, place: int, gradient: Array) -> Array:
        """What is added to the weights at `place`."""
        zero = np.zeros_like(gradient)
        m, s, t = self.moments.get(place, (zero, zero, 0))
        t = t + 1
        m = self.beta1 * m + (1 - self.beta1) * gradient
        s = self.beta2 * s + (1 - self.beta2) * gradient * gradient
        self.moments[place] = m, s, t
        mean, square = m / (1 - self.beta1**t), s / (1 - self.beta2**t)
        change: Array = -self.rate * mean / (np.sqrt(square) + self.eps)
        return change


# --- training -------------------------------------------------------------------------------


def train(
    layers: list[Layer],
    batches: Iterable[tuple[Array, Array]],
    optimizer: Momentum | Adam,
    activation: str = "tanh",
) -> tuple[list[Layer], list[float]]:
    """One step for each batch (x, labels): the weights at the end, and the loss before each step.

    The gradients of a step are all taken at the same weights; only then do the weights change.
    """
    losses = []
    for x, labels in batches:
        values = forward(layers, x, activation)
        loss, delta = cross_entropy(values[-1], labels)
        gradients = backward(layers, values, delta, activation)
        layers = [
            (W + optimizer.change(2 * i, dW), b + optimizer.change(2 * i + 1, db))
            for i, ((W, b), (dW, db)) in enumerate(zip(layers, gradients, strict=True))
        ]
        losses.append(loss)
    return layers, losses


def first_layers(widths: list[int], random: np.random.Generator) -> list[Layer]:
    """Uniform weights of variance 2 / (inputs + outputs), biases 0 (Glorot and Bengio 2010)."""
    layers = []
    for inputs, outputs in pairwise(widths):
        bound = np.sqrt(6 / (inputs + outputs))
        layers.append((random.uniform(-bound, bound, (inputs, outputs)), np.zeros(outputs)))
    return layers


# --- an example -----------------------------------------------------------------------------


def parity(bits: int = 4) -> tuple[Array, Array]:
    """All strings of bits, and whether each has an odd number of ones."""
    x = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
    return x.astype(float), x.sum(axis=1) % 2


def numeric(layers: list[Layer], x: Array, labels: Array) -> float:
    """dE/dW[0, 0] of the first layer, as the difference that moving this weight makes."""
    (W, b), *rest = layers
    h = np.zeros_like(W)
    h[0, 0] = 1e-5

    def loss(W: Array) -> float:
        return cross_entropy(forward([(W, b), *rest], x, "tanh")[-1], labels)[0]

    return (loss(W + h) - loss(W - h)) / 2e-5


def main() -> None:
    """Learns the parity of 4 bits (Rumelhart, Hinton and Williams 1986) with 8 hidden units."""
    x, labels = parity()
    layers = first_layers([4, 8, 2], np.random.default_rng(0))
    values = forward(layers, x, "tanh")
    _, delta = cross_entropy(values[-1], labels)
    gradient = backward(layers, values, delta, "tanh")[0][0][0, 0]
    print(f"dE/dW[0, 0]: {gradient:.9f}, by differences {numeric(layers, x, labels):.9f}")
    for optimizer in (Momentum(0.3, 0.9), Adam(0.03)):
        trained, losses = train(layers, [(x, labels)] * 500, optimizer)
        right = forward(trained, x, "tanh")[-1].argmax(axis=1) == labels
        shown = ", ".join(f"{losses[step]:.4f}" for step in (0, 100, 200, 300, 400, 499))
        print(f"{type(optimizer).__name__}: loss {shown}; {right.sum()} of {len(x)} right")


if __name__ == "__main__":
    main()
