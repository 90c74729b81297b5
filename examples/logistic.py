"""The loss of a logistic regression, and its gradient by the weights, down to machine code.

chainrule stages examples/logistic.py
chainrule stages examples/logistic.py --stage regions
"""

import numpy as np


def loss(weights, x, y):
    """Mean cross-entropy between the classes y (0 or 1) and the model's probabilities."""
    logits = x @ weights
    return np.mean(np.logaddexp(0.0, logits) - y * logits)


random = np.random.default_rng(0)
x = random.normal(size=(1000, 20)).astype(np.float32)
y = (x[:, 0] > 0).astype(np.float32)
weights = np.zeros(20, np.float32)

example = (weights, x, y)

if __name__ == "__main__":
    import chainrule as cr

    step = cr.value_and_grad(loss)
    for number in range(101):
        value, gradient = step(weights, x, y)
        if number % 20 == 0:
            print(f"step {number:3d}  loss {value:.4f}")
        weights = weights - 1.0 * gradient
