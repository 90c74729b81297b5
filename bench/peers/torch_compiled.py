"""PyTorch through torch.compile: forward, backward and the fused optimiser in one region."""

from __future__ import annotations

from bench.peers import torch_eager


class Peer(torch_eager.Peer):
    compiled = True
