"""The peers: each module has `Peer(case)` with `run(batches) -> losses`, at its best settings."""
