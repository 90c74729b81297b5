"""The peers, at their best settings. Each module has `Peer(case)` with

- `prepare(batches)`: the rows' numbers as the peer likes them, at hand before the clock starts;
- `run(prepared)`: all the steps, selection of the rows included, until the weights are there;
- `losses(told)`: the loss of every step, from what `run` returned.

`NETWORKS`, in ours_networks.py, torch_networks.py and jax_networks.py, maps the architectures to
what builds them.
"""

from __future__ import annotations

from bench.cases import Case


def left_out(peer: str, case: Case) -> str:
    """Why a peer has no part in a case, or "" where it has; the table says so."""
    if peer == "torch_channels_last" and not case.network.pictures:
        return "pictures only"
    return ""
