"""Convolutions and pooling: what they compute, against loops and SciPy, and what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.signal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, UsageError
from chainrule.nn.sliding import each, pairs_of

random = np.random.default_rng(2)
LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SHAPES = {1: (2, 9), 2: (2, 6, 7), 3: (1, 4, 5, 6)}


def naive(x: Any, weight: Any, stride: int, dilation: int, pad: Any, groups: int) -> Any:
    """One output at a time, one element of the window after the other."""
    dimensions = weight.ndim - 2
    x = np.pad(x, ((0, 0), *pad, (0, 0)))
    kernel, (width, outputs) = weight.shape[:dimensions], weight.shape[dimensions:]
    places = [
        (size - (k - 1) * dilation - 1) // stride + 1
        for size, k in zip(x.shape[1:], kernel, strict=False)
    ]
    result = np.zeros((x.shape[0], *places, outputs))
    for row, o in itertools.product(range(x.shape[0]), range(outputs)):
        first = o // (outputs // groups) * width
        for place in itertools.product(*map(range, places)):
            for inside in itertools.product(*map(range, kernel)):
                at = tuple(p * stride + i * dilation for p, i in zip(place, inside, strict=True))
                values = x[(row, *at)][first : first + width]
                result[(row, *place, o)] += values @ weight[(*inside, slice(None), o)]
    return result


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2},
        {"dilation": 2, "padding": 1},
        {"padding": "same"},
        {"padding": "same", "stride": 3},
        {"groups": 2, "padding": 2, "stride": 2},
        {"groups": "depthwise"},
        {"kernel": 2, "stride": 5},
        {"kernel": 1, "stride": 2},
    ],
    ids=str,
)
def test_a_convolution_is_the_sum_over_each_window(dimensions: int, settings: Any) -> None:
    """Against loops over every element, plain and traced."""
    x = random.normal(size=(*SHAPES[dimensions], 4))
    kernel = settings.get("kernel", 3 if dimensions < 3 else 2)
    layer = LAYERS[dimensions](4, 8, **{"kernel": kernel, "bias": False, **settings})
    net = nn.init(layer, x, dtype=np.float64)
    stride, dilation = settings.get("stride", 1), settings.get("dilation", 1)
    pad = pairs_of(net.padding, x.shape[1:-1], net.spans, each(stride, dimensions))
    groups = 4 if settings.get("groups") == "depthwise" else settings.get("groups", 1)
    want = naive(x, net.weight, stride, dilation, pad, groups)
    np.testing.assert_allclose(net(x), want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(cr.compile(net)(x), want, rtol=1e-10, atol=1e-12)
    if settings.get("padding") == "same":
        assert want.shape[1:-1] == tuple(-(-n // stride) for n in x.shape[1:-1])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_convolution_of_one_channel_is_scipys_correlation(dimensions: int) -> None:
    x = random.normal(size=SHAPES[dimensions][1:])
    w = random.normal(size=(3, 2, 2)[:dimensions])
    layer = LAYERS[dimensions](1, 1, kernel=w.shape, bias=False, weight=w[..., None, None])
    got = layer(x[None, ..., None])[0, ..., 0]
    np.testing.assert_allclose(got, scipy.signal.correlate(x, w, mode="valid"), atol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [{}, {"stride": 2}, {"stride": 3, "kernel": 2}, {"dilation": 2, "stride": 2}, {"padding": 1}],
    ids=str,
)
def test_a_transposed_convolution_is_the_transpose(dimensions: int, settings: Any) -> None:
    """<conv(y), x> = <y, transposed(x)> for all x and y, with the channels of the weights swapped;
    and its sizes are those from which the convolution makes those of x."""
    kernel = settings.get("kernel", 3)
    settings = {"kernel": kernel, "bias": False, **settings}
    x = random.normal(size=(2, *(3, 4, 3)[:dimensions], 2))
    up = nn.init(TRANSPOSED[dimensions](2, 3, **settings), x, dtype=np.float64)
    y = random.normal(size=up(x).shape)
    swapped = np.swapaxes(up.weight, -1, -2)
    down = LAYERS[dimensions](3, 2, weight=swapped, **settings)
    np.testing.assert_allclose(np.sum(down(y) * x), np.sum(y * up(x)), rtol=1e-10)


def test_a_transposed_convolution_with_same_padding_multiplies_the_size() -> None:
    """Also where windows are shorter than their stride, which leaves gaps of zeros."""
    for kernel, stride in ((3, 2), (4, 2), (2, 3), (1, 2), (5, 1)):
        x = random.normal(size=(1, 4, 5, 2))
        layer = nn.ConvTranspose2d(3, kernel=kernel, stride=stride, padding="same", bias=False)
        up = nn.init(layer, x, dtype=np.float64)
        assert up(x).shape == (1, 4 * stride, 5 * stride, 3)
        down = nn.Conv2d(
            3,
            2,
            kernel=kernel,
            stride=stride,
            padding="same",
            bias=False,
            weight=np.swapaxes(up.weight, -1, -2),
        )
        y = random.normal(size=up(x).shape)
        np.testing.assert_allclose(np.sum(down(y) * x), np.sum(y * up(x)), rtol=1e-10)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding"),
    [(3, 2, 1, 1), (2, 4, 1, 0), (3, 3, 2, 2), (5, 3, 1, 2), (2, 1, 3, 1)],
)
def test_output_padding_says_which_size_comes_back(
    dimensions: int, kernel: int, stride: int, dilation: int, padding: int
) -> None:
    """Of all sizes that a convolution brings to the same one; still its transpose."""
    how: Any = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    span = (kernel - 1) * dilation + 1
    for size in range(span + 1, span + 1 + stride):
        more = (size + 2 * padding - span) % stride
        y = random.normal(size=(2, *[size] * dimensions, 3))
        down = nn.init(LAYERS[dimensions](3, 2, bias=False, **how), y, dtype=np.float64)
        x = random.normal(size=down(y).shape)
        swapped = np.swapaxes(down.weight, -1, -2)
        up = TRANSPOSED[dimensions](2, 3, bias=False, weight=swapped, output_padding=more, **how)
        assert up(x).shape == y.shape
        np.testing.assert_allclose(np.sum(down(y) * x), np.sum(y * up(x)), rtol=1e-10)
        np.testing.assert_allclose(cr.compile(up)(x), up(x), rtol=1e-10, atol=1e-12)


def test_a_file_from_before_output_padding_still_loads() -> None:
    net = nn.init(nn.ConvTranspose1d(2, 3, kernel=2, stride=2), dtype=np.float64)
    structure = nn.to_json(net)
    del structure["fields"]["output_padding"]
    back = nn.from_json(structure, nn.parameters(net))
    x = random.normal(size=(1, 4, 2))
    np.testing.assert_array_equal(back(x), net(x))


def pooled(x: Any, size: int, stride: int, reduce: Any) -> Any:
    counts = [(n - size) // stride + 1 for n in x.shape[1:-1]]
    result = np.zeros((x.shape[0], *counts, x.shape[-1]))
    for place in itertools.product(*map(range, counts)):
        window = tuple(slice(p * stride, p * stride + size) for p in place)
        part = x[(slice(None), *window)]
        result[(slice(None), *place)] = reduce(part, axis=tuple(range(1, part.ndim - 1)))
    return result


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (2, 3)])
def test_pooling_reduces_each_window(dimensions: int, size: int, stride: int) -> None:
    x = random.normal(size=(*SHAPES[dimensions], 3))
    for kind, reduce in (("MaxPool", np.max), ("AvgPool", np.mean)):
        layer = getattr(nn, f"{kind}{dimensions}d")(size, stride=stride)
        want = pooled(x, size, stride, reduce)
        np.testing.assert_allclose(layer(x), want, rtol=1e-12)
        np.testing.assert_allclose(cr.compile(layer)(x), want, rtol=1e-12)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    np.testing.assert_allclose(nn.GlobalAvgPool()(x), x.mean(axis=1))
    np.testing.assert_array_equal(nn.GlobalMaxPool()(x), x.max(axis=1))


def test_padding_is_never_the_largest_and_counts_for_no_mean() -> None:
    """Of negative numbers too, and of whole ones."""
    x = np.array([-3.0, -1.0, -2.0])[None, :, None]
    np.testing.assert_array_equal(nn.MaxPool1d(2, padding="same")(x)[0, :, 0], [-1, -2])
    np.testing.assert_array_equal(nn.AvgPool1d(2, padding="same")(x)[0, :, 0], [-2, -2])
    np.testing.assert_array_equal(nn.AvgPool1d(3, stride=2, padding=1)(x)[0, :, 0], [-2, -1.5])
    whole = x.astype(np.int64)
    np.testing.assert_array_equal(nn.MaxPool1d(2, padding="same")(whole)[0, :, 0], [-1, -2])


def test_equal_maxima_share_the_gradient() -> None:
    x = np.ones((1, 2, 2, 1))
    gradient = cr.grad(lambda x: np.sum(nn.MaxPool2d(2)(x)))(x)
    np.testing.assert_array_equal(gradient, np.full((1, 2, 2, 1), 0.25))


def test_upsampling_repeats() -> None:
    x = random.normal(size=(2, 2, 3, 2))
    want = x.repeat(2, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(nn.Upsample((2, 3))(x), want)
    np.testing.assert_array_equal(nn.Upsample(2)(x[:, 0]), x[:, 0].repeat(2, axis=1))


def test_batch_norm_takes_images_channel_by_channel() -> None:
    """The statistics of a channel are over all rows and places."""
    x = random.normal(3.0, 2.0, size=(4, 3, 5, 2))
    net = nn.init(nn.BatchNorm(2), x, dtype=np.float64)
    with nn.training(net) as context:
        y = net(x)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, atol=1e-4)
    moved = context.updates["running_mean"]
    np.testing.assert_allclose(moved, 0.1 * x.mean(axis=(0, 1, 2)))


def test_group_norm_normalises_each_group_of_each_row() -> None:
    x = random.normal(3.0, 2.0, size=(4, 3, 5, 6))
    net = nn.init(nn.GroupNorm(3), x, dtype=np.float64)
    y = net(x).reshape(4, 15, 3, 2)
    np.testing.assert_allclose(y.mean(axis=(1, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(1, 3)), 1, atol=1e-4)
    table = x[:, 0, 0]
    alone = nn.init(nn.GroupNorm(1), table, dtype=np.float64)(table)
    np.testing.assert_allclose(alone.mean(axis=1), 0, atol=1e-12)


IMAGE = np.zeros((2, 5, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("layer", "x", "says"),
    [
        (nn.Conv2d(3, 4, kernel=7), IMAGE, "windows of 7 along the height, which has 5"),
        (nn.Conv2d(3, 4, kernel=(3, 4), dilation=2), IMAGE, "windows of 7 along the width"),
        (nn.Conv2d(2, 4), IMAGE, "2 channels on the last axis, got 3"),
        (nn.Conv2d(5, 4), IMAGE, r"np\.moveaxis\(x, 1, -1\)"),
        (nn.Conv2d(3, 4), IMAGE[0], "with a single channel, x"),
        (nn.Conv1d(3, 4), IMAGE, r"\[rows, time, channels\], got 4 axes"),
        (nn.MaxPool2d(6), IMAGE, "windows of 6 along the height"),
        (nn.MaxPool2d(2, padding=2), IMAGE, "a window would show only it"),
        (nn.ConvTranspose1d(3, 4, kernel=2, padding=4), IMAGE[0], "make the padding smaller"),
        (nn.GlobalAvgPool(), IMAGE[0, 0], r"got the shape \(6, 3\)"),
        (nn.GlobalMaxPool(), IMAGE[:, :0], "at least one place"),
        (nn.Upsample((2, 2, 2)), IMAGE, "3 axes, channels"),
        (nn.GroupNorm(3, 6), IMAGE, "6 numbers on the last axis, got 3"),
    ],
)
def test_inputs_that_do_not_fit_are_named(layer: Any, x: Any, says: str) -> None:
    """The layer's place, the axis, what came, and what to change."""
    made = nn.Sequential(np.tanh, nn.init(layer))
    with pytest.raises(ShapeError, match=says) as caught:
        made(x)
    assert "layers.1" in str(caught.value)
    assert "do:" in str(caught.value)
    with pytest.raises(ShapeError, match=says):
        cr.compile(made)(x)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.Conv2d(3, 4, kernel=0), "Conv2d: kernel must be a whole number"),
        (lambda: nn.Conv2d(3, 4, kernel=(3, 3, 3)), "kernel has 3 numbers for 2 axes"),
        (lambda: nn.Conv2d(3, 4, stride=1.5), "stride"),
        (lambda: nn.Conv2d(3, 4, padding="full"), "padding is 'full'"),
        (lambda: nn.Conv2d(3, 4, padding=(1, (1, 2, 3))), "padding is"),
        (lambda: nn.Conv2d(3, 4, padding=-1), "padding is -1"),
        (lambda: nn.Conv2d(3, 4, groups=2), "3 inputs cannot be divided into 2 groups"),
        (lambda: nn.Conv2d(4, 6, groups=4), "6 outputs cannot be divided into 4 groups"),
        (lambda: nn.Conv2d(3, 4, groups="depthwise"), "4 outputs cannot be divided into 3"),
        (lambda: nn.Conv2d(3, 4, weight=np.zeros((3, 3, 4, 4))), "weight has shape"),
        (lambda: nn.Conv2d(3, 4, bias="no"), "bias must be"),
        (lambda: nn.init(nn.Conv2d(3, groups=2), IMAGE), "3 outputs cannot"),
        (lambda: nn.init(nn.Conv2d(4, groups=2), IMAGE), "3 inputs cannot"),
        (lambda: nn.init(nn.Conv2d(4)), "the input width of Conv2d"),
        (lambda: nn.ConvTranspose2d(3, 4, stride=2, output_padding=-1), "0 or more, not -1"),
        (lambda: nn.ConvTranspose2d(3, 4, output_padding=(0, 0, 0)), "3 numbers for 2 axes"),
        (lambda: nn.ConvTranspose2d(3, 4, stride=(3, 2), output_padding=2), "of 2 is no less than"),
        (
            lambda: nn.ConvTranspose1d(3, 4, stride=2, padding="same", output_padding=1),
            'output_padding is 1 and padding is "same"',
        ),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: size"),
        (lambda: nn.AvgPool1d(2, stride=0), "AvgPool1d: stride"),
        (lambda: nn.Upsample(0), "Upsample: factor"),
        (lambda: nn.GroupNorm(4, 6), "6 channels cannot be divided into 4 groups"),
    ],
)
def test_settings_that_make_no_layer_are_errors(make: Any, says: str) -> None:
    with pytest.raises((UsageError, ShapeError), match=says):
        make()


def test_numpys_numbers_are_settings_not_weights() -> None:
    """Alone and in tuples and lists."""
    layer = nn.Conv2d(np.int64(3), 4, kernel=[np.int64(3), 2], padding=(np.int32(1), (0, 1)))
    assert str(layer) == "Conv2d(3, 4, kernel=(3, 2), padding=(1, (0, 1)))"
    assert cr.tracing.leaves(layer) == []


def test_labels_say_what_differs_from_the_usual() -> None:
    made = nn.Conv2d(3, 6, kernel=(3, 5), stride=2, padding="same", groups="depthwise")
    assert made.label() == "Conv2d 3 -> 6, 3x5, stride 2x2, same, depthwise"
    up = nn.ConvTranspose2d(3, 6, stride=2, output_padding=(0, 1))
    assert up.label() == "ConvTranspose2d 3 -> 6, 3x3, stride 2x2, output padding 0x1"
    assert nn.MaxPool2d(2).label() == "MaxPool2d 2x2"


def test_the_weights_start_with_the_variance_of_what_each_output_sees() -> None:
    """Places of the kernel count as inputs: He's rule over 3 * 3 * 64 of them."""
    net = nn.init(nn.Conv2d(64, 64, kernel=3, weight_init="he_normal"))
    assert abs(net.weight.var() * 3 * 3 * 64 / 2 - 1) < 0.02


def test_a_window_of_a_convolution_is_never_copied() -> None:
    """No node of the compiled graph is as large as all windows, forward or backward."""
    net = nn.init(nn.Conv2d(8, 8, kernel=5, padding="same"))
    x = np.zeros((4, 16, 16, 8), np.float32)
    graph = cr.trace(cr.grad(lambda net, x: np.sum(np.tanh(net(x))), (0, 1)), net, x)
    largest = max(n.type.size for n in cr.rewrite.rewrite(graph).nodes() if n.op != "window")
    assert largest <= 4 * 20 * 20 * 8  # the padded input, not the 25 times of all windows
