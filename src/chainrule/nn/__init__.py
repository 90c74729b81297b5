"""Nets: layers, activations, losses and how weights start, all plain functions over NumPy.

Receives: arrays. Returns: arrays; inside a trace, nodes of the graph with the layer's path. Next:
`training` traces a net and a loss into one step; `tracing` sees only the NumPy calls they make.

    net = nn.Sequential(nn.Dense(64, 32), nn.relu, nn.Dense(32, 10))
    net = nn.init(net, seed=0)
    loss = nn.losses.cross_entropy(net(x), labels)

A net is a tree: its layers are frozen dataclasses, and the arrays in their fields are its weights.

Layouts, everywhere: rows first, channels last. Tables are [rows, columns], sequences [rows, time,
features], images [rows, height, width, channels], volumes [rows, depth, height, width, channels];
weights [inputs, outputs], those of convolutions [kernel..., inputs / groups, outputs].
"""

from chainrule.nn import initialisers, losses
from chainrule.nn.activations import (
    activation,
    elu,
    erf,
    gelu,
    identity,
    leaky_relu,
    log_softmax,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.augmentation import Cutout, Noise, RandomCrop, RandomFlip, RandomShift, mixup
from chainrule.nn.carrying import recall, remember
from chainrule.nn.codec import from_json, to_json
from chainrule.nn.compose import Residual, Sequential, mlp
from chainrule.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from chainrule.nn.equilibrium import Equilibrium
from chainrule.nn.files import load, save
from chainrule.nn.layer import Layer
from chainrule.nn.layers import Dense, Dropout, Embedding, Flatten, Reshape
from chainrule.nn.nets import count, init, parameters
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
from chainrule.nn.table import summary
from chainrule.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock
from chainrule.tracing.context import carrying, training
from chainrule.tracing.trees import state

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Cutout",
    "Dense",
    "Dropout",
    "Embedding",
    "Equilibrium",
    "Flatten",
    "Frozen",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LearnedPositions",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MultiHeadAttention",
    "Noise",
    "Padded",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "Reshape",
    "Residual",
    "Sequential",
    "SinusoidalPositions",
    "TiedEmbedding",
    "TransformerDecoderBlock",
    "TransformerEncoderBlock",
    "Upsample",
    "activation",
    "carrying",
    "count",
    "elu",
    "erf",
    "from_json",
    "gelu",
    "identity",
    "init",
    "initialisers",
    "leaky_relu",
    "load",
    "log_softmax",
    "losses",
    "mixup",
    "mlp",
    "parameters",
    "recall",
    "relu",
    "remember",
    "save",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "state",
    "summary",
    "tanh",
    "to_json",
    "training",
]
