"""The architectures in chainrule's layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chainrule as cr
from bench.convolutions import CNN, Convolution, ResNet
from bench.networks import MLP, Weights
from bench.sequences import GPT, Recurrent


def _dense(weights: Weights, name: str) -> cr.nn.Dense:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return cr.nn.Dense(*weight.shape, weight=weight, bias=bias)


def _dense_layers(weights: Weights, count: int, activation: Any) -> list[Any]:
    """Dense layers with an activation between them."""
    layers: list[Any] = []
    for number in range(count):
        layers += [_dense(weights, f"dense{number}"), activation]
    return layers[:-1]


def _mlp(network: MLP, weights: Weights) -> Any:
    activation = getattr(cr.nn, network.activation)
    return cr.nn.Sequential(*_dense_layers(weights, len(network.widths) - 1, activation))


def _cnn(network: CNN, weights: Weights) -> Any:
    activation = getattr(cr.nn, network.activation)
    pool = {"max": cr.nn.MaxPool2d, "mean": cr.nn.AvgPool2d}[network.pool]
    layers: list[Any] = []
    for number in range(len(network.channels) - 1):
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        settings = {"kernel": network.kernel, "padding": network.border}
        convolution = cr.nn.Conv2d(*weight.shape[2:], weight=weight, bias=bias, **settings)
        layers += [convolution, activation, pool(2)]
    dense = _dense_layers(weights, len(network.dense), activation)
    return cr.nn.Sequential(*layers, cr.nn.Flatten(), *dense)


@dataclass(frozen=True)
class Block(cr.nn.Layer):
    """relu(inner(x) + across(x))."""

    inner: Any
    across: Any

    def forward(self, x: Any) -> Any:
        return cr.nn.relu(self.inner(x) + self.across(x))


def _resnet(network: ResNet, weights: Weights) -> Any:
    def normed(c: Convolution) -> list[Any]:
        convolution = cr.nn.Conv2d(
            c.inputs,
            c.outputs,
            kernel=c.kernel,
            stride=c.stride,
            padding=c.kernel // 2,
            weight=weights[f"{c.name}.weight"],
            bias=False,
        )
        scale, shift = weights[f"{c.name}.scale"], weights[f"{c.name}.shift"]
        return [convolution, cr.nn.BatchNorm(c.outputs, scale=scale, shift=shift)]

    relu = cr.nn.relu
    layers: list[Any] = [*normed(network.stem), relu]
    for first, second, across in network.stacks():
        inner = cr.nn.Sequential(*normed(first), relu, *normed(second))
        layers.append(Block(inner, cr.nn.Sequential(*normed(across)) if across else cr.nn.identity))
    return cr.nn.Sequential(*layers, cr.nn.GlobalAvgPool(), _dense(weights, "dense"))


def _embedding(weights: Weights) -> cr.nn.Embedding:
    table = weights["embedding.weight"]
    return cr.nn.Embedding(*table.shape, weight=table)


def _recurrent(network: Recurrent, weights: Weights) -> Any:
    kind = {"rnn": cr.nn.RNN, "gru": cr.nn.GRU, "lstm": cr.nn.LSTM}[network.kind]
    own = {n.removeprefix("layer."): w for n, w in weights.items() if n.startswith("layer.")}
    layer = kind(network.width, network.width, **own)
    return cr.nn.Sequential(_embedding(weights), layer, _dense(weights, "dense"))


def _gpt(network: GPT, weights: Weights) -> Any:
    width, heads, table = network.width, network.heads, weights["positions.table"]

    def norm(name: str) -> cr.nn.LayerNorm:
        return cr.nn.LayerNorm(
            width, scale=weights[f"{name}.scale"], shift=weights[f"{name}.shift"]
        )

    def block(name: str) -> cr.nn.TransformerEncoderBlock:
        parts = {n: _dense(weights, f"{name}.{n}") for n in ("query", "key", "value", "output")}
        return cr.nn.TransformerEncoderBlock(
            width,
            heads,
            causal=True,
            attention=cr.nn.MultiHeadAttention(width, heads, causal=True, **parts),
            attention_norm=norm(f"{name}.attention_norm"),
            expand=_dense(weights, f"{name}.expand"),
            reduce=_dense(weights, f"{name}.reduce"),
            hidden_norm=norm(f"{name}.hidden_norm"),
        )

    return cr.nn.Sequential(
        _embedding(weights),
        cr.nn.LearnedPositions(*table.shape, table=table),
        *(block(f"block{number}") for number in range(network.layers)),
        norm("norm"),
        _dense(weights, "dense"),
    )


NETWORKS: dict[type, Callable[..., Any]] = {
    MLP: _mlp,
    CNN: _cnn,
    ResNet: _resnet,
    Recurrent: _recurrent,
    GPT: _gpt,
}
