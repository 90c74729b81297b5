"""A net for each layer, with an input: what the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import nn

random = np.random.default_rng(5)


def _normal(*shape: int) -> Any:
    return random.normal(size=shape)


def _distinct(*shape: int) -> Any:
    """No two numbers alike: no ties between the elements of a window."""
    return (random.permutation(int(np.prod(shape))).reshape(shape) + 0.37) * 0.1


NETS: dict[str, tuple[Any, Any]] = {
    "Dense": (nn.Dense(3, 4), _normal(2, 5, 3)),
    "Embedding": (nn.Embedding(7, 3), np.array([[1, 2, 1], [0, 6, 3]])),
    "Flatten": (nn.Sequential(nn.Flatten(), nn.Dense(2)), _normal(3, 2, 3)),
    "Dropout": (nn.Sequential(nn.Dense(4), nn.Dropout(0.4)), _normal(3, 5)),
    "Residual": (nn.Residual(nn.Sequential(nn.LayerNorm(), nn.Dense(3), nn.gelu)), _normal(4, 3)),
    "LayerNorm": (nn.LayerNorm(6), _normal(4, 6)),
    "BatchNorm": (nn.BatchNorm(3), _normal(5, 3)),
    "Conv1d": (nn.Conv1d(2, 3, kernel=3), _normal(2, 6, 2)),
    "Conv2d": (nn.Conv2d(2, 3, kernel=(3, 2), padding="same"), _normal(2, 4, 5, 2)),
    "Conv2d with strides": (
        nn.Conv2d(3, kernel=3, stride=(2, 3), padding=((1, 0), 2)),
        _normal(2, 5, 5, 2),
    ),
    "Conv2d with dilation": (nn.Conv2d(3, kernel=2, dilation=2, bias=False), _normal(1, 4, 5, 2)),
    "Conv2d with groups": (nn.Conv2d(4, 6, kernel=2, groups=2), _normal(2, 3, 4, 4)),
    "Conv2d by channel": (
        nn.Conv2d(6, kernel=3, groups="depthwise", padding="same", stride=2),
        _normal(1, 4, 5, 3),
    ),
    "Conv2d of one place": (nn.Conv2d(2, 3, kernel=1), _normal(2, 2, 3, 2)),
    "Conv3d": (nn.Conv3d(2, kernel=2, padding=1, stride=2), _normal(1, 3, 4, 3, 2)),
    "ConvTranspose1d": (nn.ConvTranspose1d(2, 3, kernel=4, stride=3), _normal(2, 3, 2)),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(3, kernel=3, stride=2, padding="same"),
        _normal(1, 3, 2, 2),
    ),
    "ConvTranspose2d with groups": (
        nn.ConvTranspose2d(4, kernel=2, stride=3, padding="same", groups=2, dilation=(2, 1)),
        _normal(1, 2, 2, 2),
    ),
    "ConvTranspose3d": (nn.ConvTranspose3d(2, kernel=2, padding=1), _normal(1, 3, 3, 2, 1)),
    "ConvTranspose2d with more at the end": (
        nn.ConvTranspose2d(3, kernel=2, stride=(3, 2), padding=1, output_padding=(2, 1)),
        _normal(2, 3, 2, 2),
    ),
    "MaxPool1d": (nn.MaxPool1d(3, stride=2), _distinct(2, 7, 2)),
    "MaxPool2d": (nn.MaxPool2d(2, padding="same"), _distinct(2, 3, 4, 2)),
    "MaxPool2d, overlapping": (nn.MaxPool2d((3, 2), stride=1, padding=1), _distinct(1, 4, 3, 2)),
    "MaxPool3d": (nn.MaxPool3d(2), _distinct(1, 2, 4, 3, 2)),
    "AvgPool1d": (nn.AvgPool1d(2), _normal(2, 5, 2)),
    "AvgPool2d": (nn.AvgPool2d(3, stride=2, padding="same"), _normal(2, 4, 5, 2)),
    "AvgPool3d": (nn.AvgPool3d((1, 2, 2)), _normal(1, 2, 4, 3, 2)),
    "GlobalMaxPool": (nn.GlobalMaxPool(), _distinct(2, 3, 2, 4)),
    "GlobalAvgPool": (nn.GlobalAvgPool(), _normal(2, 5, 4)),
    "Upsample": (nn.Upsample((2, 3)), _normal(2, 2, 3, 2)),
    "GroupNorm": (nn.GroupNorm(2), _normal(2, 3, 2, 4)),
    "BatchNorm of images": (nn.BatchNorm(), _normal(2, 3, 2, 3)),
    "MultiHeadAttention": (nn.MultiHeadAttention(4, 2), _normal(2, 3, 4)),
    "MultiHeadAttention, causal": (
        nn.MultiHeadAttention(8, 2, causal=True, rotary=True, bias=False, dropout=0.3),
        _normal(2, 5, 8),
    ),
    "MultiHeadAttention to another": (
        nn.MultiHeadAttention(4, 1),
        (_normal(2, 3, 4), _normal(2, 5, 3), np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool)),
    ),
    "LearnedPositions": (nn.LearnedPositions(5), _normal(2, 3, 4)),
    "SinusoidalPositions": (nn.SinusoidalPositions(), _normal(2, 3, 4)),
    "TransformerEncoderBlock": (
        nn.TransformerEncoderBlock(4, 2, causal=True, hidden=6, dropout=0.2),
        _normal(2, 3, 4),
    ),
    "TransformerEncoderBlock of the paper": (
        nn.TransformerEncoderBlock(4, 2, norm_first=False, activation=nn.silu),
        (_normal(2, 3, 4), np.array([[True, True, False], [True, True, True]])),
    ),
    "TransformerDecoderBlock": (
        nn.TransformerDecoderBlock(4, 2, hidden=5, rotary=True),
        (_normal(2, 3, 4), _normal(2, 2, 3)),
    ),
    "Padded": (
        nn.Padded(nn.Embedding(6, 4), (nn.GRU(3), nn.Conv1d(2, kernel=3, padding="same"))),
        np.array([[1, 2, 1, 0], [5, 3, 0, 0]]),
    ),
    "TiedEmbedding": (
        nn.TiedEmbedding(nn.Embedding(6, 4), nn.Dense(4)),
        np.array([[1, 2, 1], [0, 5, 3]]),
    ),
    "Frozen": (
        nn.Sequential(nn.Frozen(nn.Sequential(nn.Dense(3), nn.BatchNorm(), np.tanh)), nn.Dense(2)),
        _normal(3, 4),
    ),
    "RNN": (nn.RNN(3, 4), _normal(2, 5, 3)),
    "RNN from the end": (
        nn.RNN(4, reverse=True, last=True, activation=nn.softplus),
        _normal(2, 3, 2),
    ),
    "LSTM": (nn.LSTM(3, 4), _normal(2, 5, 3)),
    "LSTM of two layers, both ways": (
        nn.LSTM(2, layers=2, bidirectional=True, dropout=0.3),
        _normal(2, 3, 2),
    ),
    "GRU": (nn.GRU(3, 4, checkpoint=2), _normal(2, 5, 3)),
    "GRU of two layers, last": (nn.GRU(3, layers=2, last=True), _normal(2, 3, 2)),
    "Equilibrium": (nn.Equilibrium(3, 4, tolerance=1e-13), _normal(2, 3)),
    "RandomShift": (nn.Sequential(nn.RandomShift(1), nn.tanh), _normal(2, 3, 4, 2)),
    "RandomCrop": (nn.Sequential(nn.RandomCrop(2, 3), nn.tanh), _normal(2, 3, 5)),
    "RandomFlip": (nn.Sequential(nn.RandomFlip(), nn.tanh), _normal(4, 2, 3, 1)),
    "Noise": (nn.Sequential(nn.Noise(0.2), nn.tanh), _normal(3, 4)),
    "Cutout": (nn.Sequential(nn.Cutout(2), nn.tanh), _normal(2, 4, 3, 2)),
    "a small network": (
        nn.Sequential(
            nn.Conv2d(4, kernel=3, padding="same"),
            nn.GroupNorm(2),
            nn.gelu,
            nn.AvgPool2d(2),
            nn.Residual(nn.Conv2d(4, kernel=3, padding="same")),
            nn.GlobalAvgPool(),
            nn.Dense(2),
        ),
        _normal(2, 4, 6, 1),
    ),
    "Reshape": (nn.Sequential(nn.Reshape((2, 3)), nn.Dense(2)), _normal(2, 6)),
}
