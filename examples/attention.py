"""One head of scaled dot-product attention (Vaswani et al., 2017), down to machine code.

chainrule stages examples/attention.py
chainrule stages examples/attention.py --stage loops
"""

import numpy as np


def attention(queries, keys, values):
    """What each of the queries [n, d] gathers from the values [m, d], by likeness of keys."""
    scores = queries @ keys.T / np.sqrt(queries.shape[1])
    scores = scores - np.max(scores, axis=1, keepdims=True)
    shares = np.exp(scores)
    return shares / np.sum(shares, axis=1, keepdims=True) @ values


random = np.random.default_rng(0)
queries, keys, values = random.normal(size=(3, 64, 32)).astype(np.float32)

example = (queries, keys, values)

if __name__ == "__main__":
    import chainrule as cr

    compiled = cr.compile(attention)(*example)
    print(f"farthest from NumPy: {np.abs(compiled - attention(*example)).max():.1e}")
