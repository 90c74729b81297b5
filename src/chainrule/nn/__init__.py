"""Nets: layers, activations, losses and how weights start, all plain functions over NumPy.

Receives: arrays. Returns: arrays; inside a trace, nodes of the graph with the layer's path. Next:
`training` traces a net and a loss into one step; `tracing` sees only the NumPy calls they make.

    net = nn.Sequential(nn.Dense(64, 32), nn.relu, nn.Dense(32, 10))
    net = nn.init(net, seed=0)
    loss = nn.losses.cross_entropy(net(x), labels)

A net is a tree: its layers are frozen dataclasses, and the arrays in their fields are its weights.
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
from chainrule.nn.augmentation import Cutout, Noise, RandomCrop, RandomFlip, RandomShift, mixup
from chainrule.nn.codec import from_json, to_json
from chainrule.nn.compose import Residual, Sequential, mlp
from chainrule.nn.files import load, save
from chainrule.nn.layer import Layer
from chainrule.nn.layers import Dense, Dropout, Embedding, Flatten
from chainrule.nn.nets import count, init, parameters
from chainrule.nn.norms import BatchNorm, LayerNorm
from chainrule.nn.table import summary
from chainrule.tracing.context import training
from chainrule.tracing.trees import state

__all__ = [
    "BatchNorm",
    "Cutout",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Layer",
    "LayerNorm",
    "Noise",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "Residual",
    "Sequential",
    "activation",
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
    "relu",
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
