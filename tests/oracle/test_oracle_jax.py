"""What PyTorch does not have, against JAX: "same" with strides, and what is mapped and repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

jax: Any = pytest.importorskip("jax", reason="JAX is not installed here; ./run oracle installs it")

jax.config.update("jax_enable_x64", True)
pytestmark = pytest.mark.oracle

jnp, lax = jax.numpy, jax.lax
random = np.random.default_rng(31)
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
SHAPES = {1: (2, 11), 2: (2, 7, 6), 3: (1, 5, 4, 6)}


def _agree(ours: Any, theirs: Any, *args: Any) -> None:
    """Values and gradients by every argument, on both backends."""
    waves = np.cos(1.0 + np.arange(np.size(theirs(*args)))).reshape(np.shape(theirs(*args)))
    places = tuple(range(len(args)))
    want = theirs(*args), jax.grad(lambda *a: jnp.sum(theirs(*a) * waves), places)(*args)

    def both(*args: Any) -> Any:
        return ours(*args), cr.grad(lambda *a: np.sum(ours(*a) * waves), places)(*args)

    for backend in ("reference", "native"):
        value, gradients = cr.compile(both, backend=backend)(*args)
        np.testing.assert_allclose(value, want[0], rtol=1e-12, atol=1e-12)
        for got, other in zip(gradients, want[1], strict=True):
            np.testing.assert_allclose(got, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups"),
    [(3, 2, 1, 1), (4, 3, 1, 2), (2, 3, 1, 1), (3, 2, 1, 2), (3, 1, 2, 1), (1, 2, 1, 1)],
)
def test_same_padding_is_jaxs(
    dimensions: int, kernel: int, stride: int, dilation: int, groups: int
) -> None:
    """With strides, even kernels and dilation: the larger part goes to the end."""
    layer = getattr(nn, f"Conv{dimensions}d")(
        4, 6, kernel=kernel, stride=stride, dilation=dilation, groups=groups, padding="same",
        bias=False,
    )  # fmt: skip
    weight = random.normal(size=(*[kernel] * dimensions, 4 // groups, 6))

    def theirs(x: Any, weight: Any) -> Any:
        return lax.conv_general_dilated(
            x, weight, [stride] * dimensions, "SAME",
            rhs_dilation=[dilation] * dimensions, feature_group_count=groups,
            dimension_numbers=LAYOUTS[dimensions],
        )  # fmt: skip

    x = random.normal(size=(*SHAPES[dimensions], 4))
    _agree(lambda x, weight: layer.replace(weight=weight)(x), theirs, x, weight)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 2), (3, 1), (2, 2), (5, 3)])
def test_a_transposed_convolution_with_same_padding_is_jaxs(
    dimensions: int, kernel: int, stride: int
) -> None:
    """JAX's does not turn the kernel around."""
    layer = getattr(nn, f"ConvTranspose{dimensions}d")(
        3, 2, kernel=kernel, stride=stride, padding="same", bias=False
    )
    weight = random.normal(size=(*[kernel] * dimensions, 3, 2))
    places = tuple(range(dimensions))

    def theirs(x: Any, weight: Any) -> Any:
        return lax.conv_transpose(
            x, jnp.flip(weight, places), [stride] * dimensions, "SAME",
            dimension_numbers=LAYOUTS[dimensions],
        )  # fmt: skip

    x = random.normal(size=(*SHAPES[dimensions], 3))
    _agree(lambda x, weight: layer.replace(weight=weight)(x), theirs, x, weight)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 3), (4, 1)])
def test_pooling_with_same_padding_is_jaxs(dimensions: int, size: int, stride: int) -> None:
    x = random.permutation(int(np.prod(SHAPES[dimensions])) * 3) * 0.1
    x = x.reshape(*SHAPES[dimensions], 3)
    window, strides = (1, *[size] * dimensions, 1), (1, *[stride] * dimensions, 1)

    def largest(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "SAME")

    def mean(x: Any) -> Any:
        total = lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME")
        return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, window, strides, "SAME")

    for kind, theirs in (("Max", largest), ("Avg", mean)):
        layer = getattr(nn, f"{kind}Pool{dimensions}d")(size, stride=stride, padding="same")
        _agree(layer, theirs, x)


def test_a_jacobian_and_a_hessian_are_jaxs() -> None:
    """Of a convolution under a norm, by its weights."""
    x, weight = random.normal(size=(2, 6, 3)), random.normal(size=(3, 3, 2))
    layer = nn.Conv1d(3, 2, kernel=3, padding="same", bias=False)

    def ours(weight: Any) -> Any:
        y = np.tanh(layer.replace(weight=weight)(x))
        return y / np.sqrt(np.mean(y * y, axis=1, keepdims=True) + 0.1)

    def theirs(weight: Any) -> Any:
        y = jnp.tanh(lax.conv_general_dilated(x, weight, [1], "SAME", dimension_numbers=LAYOUTS[1]))
        return y / jnp.sqrt(jnp.mean(y * y, axis=1, keepdims=True) + 0.1)

    np.testing.assert_allclose(
        cr.jacobian(ours)(weight), jax.jacobian(theirs)(weight), rtol=1e-11, atol=1e-12
    )
    hessian = cr.jacobian(cr.grad(lambda w: np.sum(ours(w) ** 3)))(weight)
    want = jax.hessian(lambda w: jnp.sum(theirs(w) ** 3))(weight)
    np.testing.assert_allclose(hessian, want, rtol=1e-10, atol=1e-11)


def test_a_scan_and_its_gradient_are_jaxs() -> None:
    """Forwards and from the end, with what each step gives."""
    xs, w = random.normal(size=(9, 4)), random.normal(size=(4, 4)) * 0.6

    def make(scan: Any, np: Any, reverse: bool) -> Any:
        def step(w: Any) -> Any:
            def inner(h: Any, x: Any) -> Any:
                h = np.tanh(h @ w + x)
                return h, np.sin(h) * x

            return inner

        def run(xs: Any, w: Any) -> Any:
            h, ys = scan(step(w), np.zeros(4), xs, reverse=reverse)
            return np.concatenate([h[None], ys])

        return run

    for reverse in (False, True):
        _agree(make(cr.scan, np, reverse), make(lax.scan, jnp, reverse), xs, w)
