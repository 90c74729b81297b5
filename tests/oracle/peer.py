"""A layer here and the same in PyTorch, and what it means that they agree.

The weights are PyTorch tensors with our names and in our layouts; a peer brings them into its own
by differentiable moves, so that its gradients come back in ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tracing import trees

torch: Any = pytest.importorskip(
    "torch", reason="PyTorch is not installed here; ./run oracle installs it"
)
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402 - where it is installed

Array = np.ndarray[Any, Any]
Weights = Mapping[str, Any]

# Units in the last place of the largest number of an array: sums of some dozens of terms, over a
# few layers, each in an order of its own. The functions of native code err by two of them.
ULPS = 64


@dataclass(frozen=True)
class Case:
    """A net without weights, its inputs (trees of arrays), and `peer(weights, *inputs)`.

    `training` runs it in training, where the peer changes the running statistics among its weights
    in place, as PyTorch does. `weights` is False for what has none.
    """

    net: Any
    inputs: tuple[Any, ...]
    peer: Callable[..., Any]
    training: bool = False
    weights: bool = True


def part(weights: Weights, path: str) -> dict[str, Any]:
    """The weights of the layer at this path."""
    start = f"{path}."
    return {name.removeprefix(start): w for name, w in weights.items() if name.startswith(start)}


def filled(case: Case, dtype: Any) -> Any:
    """The net with weights, none of them 0 or 1, also where layers begin so."""
    if not case.weights:
        return case.net
    random = np.random.default_rng(7)
    given = takewhile(lambda x: isinstance(x, np.ndarray) and x.dtype.kind in "fi", case.inputs)
    net = nn.init(case.net, tuple(given), seed=3, dtype=dtype)
    return trees.map_leaves(lambda a: a + (0.2 * random.random(a.shape)).astype(a.dtype), net)


def cast(tree: Any, dtype: Any) -> Any:
    return trees.map_leaves(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a, tree)


def tensor(array: Any, *, trained: bool = False) -> Any:
    """In float64, whatever the array has: the peer is the measure."""
    found = torch.tensor(np.asarray(array))
    return found.double().requires_grad_(trained) if found.is_floating_point() else found


# --- the two ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What is compared, by name: outputs, gradients, the derivative of the gradients along one
    direction, and running statistics."""

    outputs: list[Any]
    gradients: dict[str, Any]
    second: dict[str, Any]
    updates: dict[str, Any]


def _chosen(tree: Any) -> dict[int, trees.Leaf]:
    """What is differentiated by, by its place among the leaves."""
    leaves = enumerate(trees.leaves(tree))
    return {n: leaf for n, leaf in leaves if leaf.trained and leaf.value.dtype.kind == "f"}


def _waves(like: Any) -> Array:
    """Numbers of which no two are alike: weights of the outputs in the sum that is differentiated,
    and the direction of second derivatives."""
    found = np.cos(1.0 + np.arange(np.prod(like.shape, dtype=int))).reshape(like.shape)
    return np.asarray(found, like.dtype)


def _total(parts: Sequence[Any], others: Sequence[Any]) -> Any:
    terms = [(a * b).sum() for a, b in zip(parts, others, strict=True)]
    return sum(terms[1:], terms[0])


def ours(case: Case, net: Any, inputs: Any, backend: str, second: bool) -> Found:
    """The net and its derivatives as one program."""
    chosen = _chosen((net, inputs))
    directions = [_waves(leaf.value) for leaf in chosen.values()]
    moved: list[str] = []

    def outputs(net: Any, inputs: Any) -> Any:
        if not case.training:
            return net(*inputs), []
        with nn.training(net, seed=1, step=2) as context:
            found = net(*inputs)
        moved[:] = context.updates
        return found, list(context.updates.values())

    def probe(values: Any, net: Any, inputs: Any) -> Any:
        leaves = [leaf.value for leaf in trees.leaves((net, inputs))]
        for place, value in zip(chosen, values, strict=True):
            leaves[place] = value
        found = outputs(*trees.replace_leaves((net, inputs), leaves))[0]
        given = [leaf.value for leaf in trees.leaves(found)]
        return _total(given, list(map(_waves, given)))

    def slope(values: Any, net: Any, inputs: Any) -> Any:
        return _total(cr.grad(probe)(values, net, inputs), directions)

    def everything(values: Any, net: Any, inputs: Any) -> Any:
        more = cr.grad(slope)(values, net, inputs) if second else []
        return outputs(net, inputs), cr.grad(probe)(values, net, inputs), more

    values = [leaf.value for leaf in chosen.values()]
    run = cr.compile(everything, backend=backend)
    (found, updates), first, more = run(values, net, inputs)
    names = [leaf.name for leaf in chosen.values()]
    return Found(
        [leaf.value for leaf in trees.leaves(found)],
        dict(zip(names, first, strict=True)),
        dict(zip(names, more, strict=False)),
        dict(zip(moved, updates, strict=True)),
    )


def theirs(case: Case, net: Any, inputs: Any, second: bool) -> Found:
    """The same by PyTorch, in float64."""
    chosen, own = _chosen((net, inputs)), trees.leaves(net)
    leaves = trees.leaves((net, inputs))
    tensors = [tensor(leaf.value, trained=leaf.trained) for leaf in leaves]
    weights = {leaf.name: t for leaf, t in zip(own, tensors, strict=False)}
    given = trees.replace_leaves(inputs, tensors[len(own) :])
    with sdpa_kernel(SDPBackend.MATH):  # the one that can be differentiated twice
        made = case.peer(weights, *given)
    outputs = [made] if isinstance(made, torch.Tensor) else list(made)
    dtype = next(leaf.value.dtype for leaf in leaves if leaf.value.dtype.kind == "f")
    probes = [np.zeros(y.shape, dtype) for y in outputs]
    value = _total(outputs, [tensor(_waves(probe)) for probe in probes])
    wanted = [tensors[place] for place in chosen]
    first = _gradients(value, wanted, again=second)
    more: Sequence[Any] = []
    if second:
        along = _total(first, [tensor(_waves(leaf.value)) for leaf in chosen.values()])
        linear = not along.requires_grad  # then PyTorch has nothing to differentiate
        more = [torch.zeros_like(w) for w in wanted] if linear else _gradients(along, wanted)
    names = [leaf.name for leaf in chosen.values()]
    return Found(
        outputs,
        dict(zip(names, first, strict=True)),
        dict(zip(names, more, strict=False)),
        {leaf.name: weights[leaf.name] for leaf in own if not leaf.trained and case.training},
    )


def _gradients(value: Any, wanted: Sequence[Any], *, again: bool = False) -> list[Any]:
    found = torch.autograd.grad(
        value, wanted, create_graph=again, allow_unused=True, materialize_grads=True
    )
    return list(found)


# --- agreeing -----------------------------------------------------------------------------------


def assert_close(what: str, got: Any, want: Any, allowed: float) -> None:
    """Within `allowed` times the largest number of the array, or 1: some are zero but for rounding,
    such as the gradient of the keys' bias, which every key has alike."""
    want = want.detach().numpy(force=True) if isinstance(want, torch.Tensor) else np.asarray(want)
    got = np.asarray(got)
    assert got.shape == want.shape, what
    scale = max(float(np.abs(want).max(initial=0.0)), 1.0)
    np.testing.assert_allclose(got, want, rtol=0, atol=allowed * scale, err_msg=what)


def check(case: Case, backend: str, dtype: str) -> None:
    """Outputs and gradients by weights and inputs agree; in float64 second derivatives too."""
    net, inputs = filled(case, dtype), cast(case.inputs, dtype)
    second = dtype == "float64"
    got, want = ours(case, net, inputs, backend, second), theirs(case, net, inputs, second)
    allowed = ULPS * float(np.finfo(dtype).eps)
    for number, (one, other) in enumerate(zip(got.outputs, want.outputs, strict=True)):
        assert one.dtype == dtype
        assert_close(f"output {number}", one, other, allowed)
    for kind in ("gradients", "second", "updates"):
        mine, peers = getattr(got, kind), getattr(want, kind)
        assert list(mine) == list(peers)
        for name, array in mine.items():
            # A second derivative is a sum over twice as long a way.
            more = 4 if kind == "second" else 1
            assert_close(f"{kind} of {name}", array, peers[name], more * allowed)
