"""The architectures as PyTorch's modules.

Each builder takes the network, its weights, and whether pictures keep their channels last. Where
they do, the module takes pictures [rows, height, width, channels] and looks at them as PyTorch's
channels-last format; where not, it takes [rows, channels, height, width].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.convolutions import CNN, Convolution, ResNet
from bench.networks import MLP, Weights
from bench.sequences import GPT, Recurrent


def _set(parameter: Any, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(values)))


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(*weight.shape)
    _set(layer.weight, weight.T)
    _set(layer.bias, bias)
    return layer


def _dense(weights: Weights, name: str) -> nn.Linear:
    return _linear(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _mlp(network: MLP, weights: Weights, channels_last: bool) -> nn.Module:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[network.activation]
    layers: list[nn.Module] = []
    for number in range(len(network.widths) - 1):
        layers += [_dense(weights, f"dense{number}"), activation()]
    return nn.Sequential(*layers[:-1])


# --- pictures ---------------------------------------------------------------------------------


class ChannelsFirst(nn.Module):
    """[rows, height, width, channels] as PyTorch names its axes; no number moves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 3, 1, 2)


class ChannelsBehind(nn.Module):
    """The way back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


def _laid_out(layers: list[nn.Module], channels_last: bool) -> nn.Module:
    if channels_last:
        return nn.Sequential(ChannelsFirst(), *layers).to(memory_format=torch.channels_last)
    return nn.Sequential(*layers)


def _convolution(weight: np.ndarray, bias: np.ndarray | None, **settings: int) -> nn.Conv2d:
    layer = nn.Conv2d(*weight.shape[2:], weight.shape[0], bias=bias is not None, **settings)
    _set(layer.weight, weight.transpose(3, 2, 0, 1))
    if bias is not None:
        _set(layer.bias, bias)
    return layer


def _cnn(network: CNN, weights: Weights, channels_last: bool) -> nn.Module:
    def activation() -> nn.Module:
        return nn.Tanh() if network.activation == "tanh" else nn.ReLU(inplace=True)

    pool = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}[network.pool]
    layers: list[nn.Module] = []
    for number in range(len(network.channels) - 1):
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        layers += [_convolution(weight, bias, padding=network.border), activation(), pool(2)]
    first = weights["dense0.weight"]
    if channels_last:
        layers.append(ChannelsBehind())
    else:  # places in another order: so are the rows of the weight
        by_place = first.reshape(network.end, network.end, network.channels[-1], -1)
        first = by_place.transpose(2, 0, 1, 3).reshape(first.shape)
    layers += [nn.Flatten(), _linear(first, weights["dense0.bias"])]
    for number in range(1, len(network.dense)):
        layers += [activation(), _dense(weights, f"dense{number}")]
    return _laid_out(layers, channels_last)


class Block(nn.Module):
    """relu(inner(x) + across(x))."""

    def __init__(self, inner: nn.Module, across: nn.Module) -> None:
        super().__init__()
        self.inner, self.across = inner, across

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.inner(x) + self.across(x), inplace=True)


def _resnet(network: ResNet, weights: Weights, channels_last: bool) -> nn.Module:
    def normed(c: Convolution) -> list[nn.Module]:
        settings = {"stride": c.stride, "padding": c.kernel // 2}
        norm = nn.BatchNorm2d(c.outputs, eps=1e-5, momentum=0.1)  # a tenth is new
        _set(norm.weight, weights[f"{c.name}.scale"])
        _set(norm.bias, weights[f"{c.name}.shift"])
        return [_convolution(weights[f"{c.name}.weight"], None, **settings), norm]

    layers: list[nn.Module] = [*normed(network.stem), nn.ReLU(inplace=True)]
    for first, second, across in network.stacks():
        inner = nn.Sequential(*normed(first), nn.ReLU(inplace=True), *normed(second))
        layers.append(Block(inner, nn.Sequential(*normed(across)) if across else nn.Identity()))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), _dense(weights, "dense")]
    return _laid_out(layers, channels_last)


# --- sequences --------------------------------------------------------------------------------


def _embedding(weights: Weights) -> nn.Embedding:
    return nn.Embedding.from_pretrained(
        torch.from_numpy(weights["embedding.weight"].copy()), freeze=False
    )


class RecurrentNet(nn.Module):
    """PyTorch's layers have two biases, which are added; the second is zero here and stays so, or
    Adam would take each step twice. Of the GRU's, the candidate's part counts."""

    def __init__(self, network: Recurrent, weights: Weights) -> None:
        super().__init__()
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[network.kind]
        self.embedding, self.dense = _embedding(weights), _dense(weights, "dense")
        self.layer = kind(network.width, network.width, batch_first=True)
        _set(self.layer.weight_ih_l0, weights["layer.weight"].T)
        _set(self.layer.weight_hh_l0, weights["layer.recurrent"].T)
        _set(self.layer.bias_ih_l0, weights["layer.bias"])
        second = np.zeros(network.gates * network.width, np.float32)
        bias = self.layer.bias_hh_l0
        if network.kind == "gru":
            second[2 * network.width :] = weights["layer.candidate_bias"]
            own = torch.zeros(len(second))
            own[2 * network.width :] = 1
            bias.register_hook(lambda gradient: gradient * own)
        else:
            bias.requires_grad_(requires_grad=False)
        _set(bias, second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.layer(self.embedding(x))[0])


def _recurrent(network: Recurrent, weights: Weights, channels_last: bool) -> nn.Module:
    return RecurrentNet(network, weights)


class GPTBlock(nn.Module):
    """Attention, query, key and value from one product, and the dense net of each place."""

    def __init__(self, network: GPT, weights: Weights, name: str) -> None:
        super().__init__()
        self.heads = network.heads
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([weights[f"{part}.weight"] for part in parts], axis=1)
        bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
        self.first, self.second = (
            _norm(weights, f"{name}.{part}") for part in ("attention_norm", "hidden_norm")
        )
        self.projected, self.output = _linear(weight, bias), _dense(weights, f"{name}.output")
        self.expand, self.reduce = (_dense(weights, f"{name}.{p}") for p in ("expand", "reduce"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, time, width = x.shape
        split = self.projected(self.first(x)).view(rows, time, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(read.transpose(1, 2).reshape(rows, time, width))
        return x + self.reduce(functional.gelu(self.expand(self.second(x))))


class Positions(nn.Module):
    """A vector added at each place."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(table.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table


def _norm(weights: Weights, name: str) -> nn.LayerNorm:
    norm = nn.LayerNorm(len(weights[f"{name}.scale"]))
    _set(norm.weight, weights[f"{name}.scale"])
    _set(norm.bias, weights[f"{name}.shift"])
    return norm


def _gpt(network: GPT, weights: Weights, channels_last: bool) -> nn.Module:
    blocks = [GPTBlock(network, weights, f"block{number}") for number in range(network.layers)]
    positions = Positions(weights["positions.table"])
    ends = [_norm(weights, "norm"), _dense(weights, "dense")]
    return nn.Sequential(_embedding(weights), positions, *blocks, *ends)


NETWORKS: dict[type, Callable[..., nn.Module]] = {
    MLP: _mlp,
    CNN: _cnn,
    ResNet: _resnet,
    Recurrent: _recurrent,
    GPT: _gpt,
}
