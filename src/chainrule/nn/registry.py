"""The closed list of layers and functions that a saved net may name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn.activations import ACTIVATIONS, erf
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.augmentation import AUGMENTATIONS
from chainrule.nn.compose import Residual, Sequential
from chainrule.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from chainrule.nn.equilibrium import Equilibrium
from chainrule.nn.initialisers import INITIALISERS
from chainrule.nn.layer import Layer
from chainrule.nn.layers import Dense, Dropout, Embedding, Flatten, Reshape
from chainrule.nn.norms import BatchNorm, GroupNorm, LayerNorm
from chainrule.nn.padded import Padded
from chainrule.nn.pooling import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Upsample,
)
from chainrule.nn.positions import LearnedPositions, SinusoidalPositions
from chainrule.nn.recurrent import GRU, LSTM, RNN
from chainrule.nn.sharing import Frozen, TiedEmbedding
from chainrule.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        AvgPool1d,
        AvgPool2d,
        AvgPool3d,
        BatchNorm,
        Conv1d,
        Conv2d,
        Conv3d,
        ConvTranspose1d,
        ConvTranspose2d,
        ConvTranspose3d,
        Dense,
        Dropout,
        Embedding,
        Equilibrium,
        Flatten,
        Frozen,
        GRU,
        GlobalAvgPool,
        GlobalMaxPool,
        GroupNorm,
        LSTM,
        LayerNorm,
        LearnedPositions,
        MaxPool1d,
        MaxPool2d,
        MaxPool3d,
        MultiHeadAttention,
        Padded,
        RNN,
        Reshape,
        Residual,
        Sequential,
        SinusoidalPositions,
        TiedEmbedding,
        TransformerDecoderBlock,
        TransformerEncoderBlock,
        Upsample,
        *AUGMENTATIONS,
    )
}

# NumPy's own functions, as they may stand between layers.
_NUMPY = "tanh sin cos arctan exp expm1 log1p sqrt square absolute negative sign".split()

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **ACTIVATIONS,
    "erf": erf,
    **{f"initialisers.{name}": function for name, function in INITIALISERS.items()},
    **{f"np.{name}": getattr(np, name) for name in _NUMPY},
}


def layer_classes(own: Iterable[Any]) -> dict[str, type]:
    """The layer classes by name, with a user's own ones. UsageError where a name is taken."""
    known: dict[str, type] = dict(LAYERS)
    for cls in own:
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise UsageError(
                f"layers holds {cls!r}, which is not a layer class",
                do="give classes that are subclasses of cr.nn.Layer",
            )
        if known.setdefault(cls.__name__, cls) is not cls:
            raise UsageError(
                f"two layer classes have the name {cls.__name__}",
                do="rename yours: a file tells layers apart by their class's name",
            )
    return known


def function_name(function: Any) -> str | None:
    """The name that stands for a function in a file, or None where it has none."""
    return next((name for name, known in FUNCTIONS.items() if known is function), None)
