"""Convolutions, pooling and normalisation, here and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from peer import Case, Weights, torch

from chainrule import nn

F = torch.nn.functional
random = np.random.default_rng(12)
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
SHAPES = {1: (2, 9), 2: (2, 7, 8), 3: (2, 5, 6, 5)}


def normal(*shape: int) -> Any:
    return random.normal(size=shape)


def distinct(*shape: int) -> Any:
    """No two numbers alike: no ties in a window."""
    return (random.permutation(int(np.prod(shape))).reshape(shape) + 0.37) * 0.1 - 5


def first(x: Any) -> Any:
    """Channels to where PyTorch has them."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    return x.movedim(1, -1)


def _each(value: Any, count: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * count


# --- convolutions -------------------------------------------------------------------------------


def convolved(w: Weights, x: Any, **settings: Any) -> Any:
    """[kernel..., inputs / groups, outputs] is PyTorch's [outputs, inputs / groups, kernel...]."""
    weight = w["weight"].movedim((-1, -2), (0, 1))
    return last(CONV[x.ndim - 2](first(x), weight, w.get("bias"), **settings))


def transposed(w: Weights, x: Any, groups: int = 1, **settings: Any) -> Any:
    """PyTorch has [inputs, outputs / groups, kernel...], the inputs of a group side by side."""
    *kernel, width, outputs = w["weight"].shape
    count = len(kernel)
    split = w["weight"].reshape(*kernel, width, groups, outputs // groups)
    moved = split.permute(count + 1, count, count + 2, *range(count))
    weight = moved.reshape(groups * width, outputs // groups, *kernel)
    run = TRANSPOSED[x.ndim - 2]
    return last(run(first(x), weight, w.get("bias"), groups=groups, **settings))


# What both sides take by the same names; the third is how wide the input is.
CONVOLUTIONS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({"kernel": 3}, 3),
    "without bias": ({"kernel": 2, "bias": False}, 3),
    "stride": ({"kernel": 3, "stride": 2}, 3),
    "stride longer than the kernel": ({"kernel": 2, "stride": 3}, 3),
    "padding": ({"kernel": 3, "padding": 2}, 3),
    "same": ({"kernel": 3, "padding": "same"}, 2),
    "same of an even kernel": ({"kernel": 4, "padding": "same", "dilation": 1}, 2),
    "same with dilation": ({"kernel": 2, "padding": "same", "dilation": 2}, 2),
    "dilation": ({"kernel": 3, "dilation": 2, "padding": 1}, 2),
    "stride, padding and dilation": ({"kernel": 2, "stride": 2, "padding": 1, "dilation": 2}, 2),
    "groups": ({"kernel": 3, "groups": 2}, 4),
    "groups with stride": ({"kernel": 2, "groups": 3, "stride": 2, "padding": 1}, 6),
    "one place": ({"kernel": 1}, 5),
}
TRANSPOSES: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({"kernel": 3}, 3),
    "stride": ({"kernel": 3, "stride": 2}, 3),
    "stride longer than the kernel": ({"kernel": 2, "stride": 3}, 2),
    "padding": ({"kernel": 3, "padding": 1, "stride": 2}, 2),
    "dilation": ({"kernel": 2, "dilation": 3, "stride": 2}, 2),
    "groups": ({"kernel": 3, "groups": 2, "stride": 2, "bias": False}, 4),
    "output padding": ({"kernel": 3, "stride": 3, "padding": 1, "output_padding": 2}, 2),
    "output padding into the gap": ({"kernel": 2, "stride": 4, "output_padding": 3}, 2),
    "output padding with dilation": ({"kernel": 2, "dilation": 3, "output_padding": 2}, 2),
    "output padding with groups": (
        {"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, 4,
    ),
}  # fmt: skip


def _convolution(
    name: str, run: Callable[..., Any], settings: dict[str, Any], width: int, outputs: int
) -> Case:
    dimensions = int(name[-2])
    given = {k: v for k, v in settings.items() if k not in ("kernel", "bias")}
    return Case(
        getattr(nn, name)(width, outputs, **settings),
        (normal(*SHAPES[dimensions], width),),
        lambda w, x: run(w, x, **given),
    )


def _asymmetric(w: Weights, x: Any) -> Any:
    """Rows above and below, columns left and right, each its own number."""
    return convolved(w, last(F.pad(first(x), (2, 2, 1, 0))), stride=(2, 3))


def _depthwise(w: Weights, x: Any) -> Any:
    return convolved(w, x, groups=x.shape[-1], stride=2, padding=1)


def convolutions() -> dict[str, Case]:
    found = {}
    for dimensions in (1, 2, 3):
        for name, (settings, width) in CONVOLUTIONS.items():
            found[f"Conv{dimensions}d, {name}"] = _convolution(
                f"Conv{dimensions}d", convolved, settings, width, 6
            )
        for name, (settings, width) in TRANSPOSES.items():
            found[f"ConvTranspose{dimensions}d, {name}"] = _convolution(
                f"ConvTranspose{dimensions}d", transposed, settings, width, 4
            )
        shape = (*SHAPES[dimensions], 3)
        made = getattr(nn, f"Conv{dimensions}d")(
            6, kernel=3, groups="depthwise", stride=2, padding=1
        )
        found[f"Conv{dimensions}d, depthwise"] = Case(made, (normal(*shape),), _depthwise)
    found["Conv2d, each side its own"] = Case(
        nn.Conv2d(2, 3, kernel=(3, 2), stride=(2, 3), padding=((1, 0), 2)),
        (normal(2, 6, 7, 2),),
        _asymmetric,
    )
    found["ConvTranspose2d, each axis its own"] = Case(
        nn.ConvTranspose2d(
            2, 3, kernel=(3, 2), stride=(3, 2), padding=(1, 0), output_padding=(2, 1)
        ),
        (normal(2, 3, 4, 2),),
        lambda w, x: transposed(w, x, stride=(3, 2), padding=(1, 0), output_padding=(2, 1)),
    )
    return found


# --- pooling ------------------------------------------------------------------------------------


def _pooled(kind: str, dimensions: int, size: Any, **settings: Any) -> Case:
    """Padding counts for no mean, here always."""
    run = getattr(F, f"{kind.lower()}_pool{dimensions}d")
    given = settings | ({"count_include_pad": False} if kind == "Avg" else {})
    return Case(
        getattr(nn, f"{kind}Pool{dimensions}d")(size, **settings),
        (distinct(*SHAPES[dimensions], 3),),
        lambda w, x: last(run(first(x), size, **given)),
    )


def pooling() -> dict[str, Case]:
    found = {}
    for kind in ("Max", "Avg"):
        for dimensions in (1, 2, 3):
            for name, size, settings in (
                ("plain", 2, {}),
                ("overlapping", 3, {"stride": 2}),
                ("padding", 3, {"stride": 2, "padding": 1}),
            ):
                case = _pooled(kind, dimensions, size, **settings)
                found[f"{kind}Pool{dimensions}d, {name}"] = case
        found[f"{kind}Pool2d, each axis its own"] = _pooled(
            kind, 2, (3, 2), stride=(1, 2), padding=(1, 0)
        )
    images = distinct(2, 4, 5, 3)
    found["GlobalMaxPool"] = Case(nn.GlobalMaxPool(), (images,), lambda w, x: x.amax(dim=(1, 2)))
    found["GlobalAvgPool"] = Case(nn.GlobalAvgPool(), (images,), lambda w, x: x.mean(dim=(1, 2)))
    found["Upsample"] = Case(
        nn.Upsample((2, 3)),
        (images,),
        lambda w, x: last(F.interpolate(first(x), scale_factor=(2, 3), mode="nearest")),
    )
    return found


# --- normalisation ------------------------------------------------------------------------------


def batch_norm(
    w: Weights, x: Any, *, training: bool = False, keep: float = 0.9, eps: float = 1e-5
) -> Any:
    """PyTorch's momentum is the share of the new."""
    return last(
        F.batch_norm(
            first(x),
            w["running_mean"],
            w["running_var"],
            w["scale"],
            w["shift"],
            training,
            1 - keep,
            eps,
        )
    )


def layer_norm(w: Weights, x: Any, eps: float = 1e-5) -> Any:
    return F.layer_norm(x, x.shape[-1:], w["scale"], w["shift"], eps)


def group_norm(w: Weights, x: Any, groups: int) -> Any:
    return last(F.group_norm(first(x), groups, w["scale"], w["shift"]))


def norms() -> dict[str, Case]:
    found = {}
    for shape in ((6, 4), (3, 5, 4), (3, 4, 5, 4), (2, 2, 3, 2, 4)):
        x = (1 + 2 * normal(*shape),)
        axes = f"{len(shape)} axes"
        found[f"BatchNorm, {axes}"] = Case(nn.BatchNorm(), x, batch_norm)
        found[f"BatchNorm in training, {axes}"] = Case(
            nn.BatchNorm(momentum=0.7, eps=1e-3),
            x,
            lambda w, x: batch_norm(w, x, training=True, keep=0.7, eps=1e-3),
            training=True,
        )
        found[f"LayerNorm, {axes}"] = Case(nn.LayerNorm(), x, layer_norm)
        # A group of a single number has no spread, and what PyTorch gives there is rounding.
        for groups in (1, 2, 4) if len(shape) > 2 else (1, 2):
            found[f"GroupNorm of {groups}, {axes}"] = Case(
                nn.GroupNorm(groups), x, lambda w, x, groups=groups: group_norm(w, x, groups)
            )
    return found


CASES = {**convolutions(), **pooling(), **norms()}
