"""PyTorch, eager, with pictures and the weights of convolutions in its channels-last format."""

from __future__ import annotations

from bench.peers import torch_eager


class Peer(torch_eager.Peer):
    channels_last = True
