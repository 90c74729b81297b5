"""The peers, at their best settings. Each module has `Peer(case)` with

- `prepare(batches)`: the rows' numbers as the peer likes them, at hand before the clock starts;
- `run(prepared)`: all the steps, selection of the rows included, until the weights are there;
- `losses(told)`: the loss of every step, from what `run` returned.

`NETWORKS` maps the architectures of bench/networks.py to what builds them.
"""
