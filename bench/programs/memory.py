"""The most memory that a peer takes for a few steps of a case, its imports included; for ours with
CHAINRULE_CACHE=off, so that compiling counts. Few rows are at hand: they would be the same for
everybody."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys

if cores := os.environ.get("BENCH_CORES"):
    os.sched_setaffinity(0, {int(c) for c in cores.split(",")})

from bench.cases import find

STEPS, ROWS = 5, 256

case = dataclasses.replace(find(sys.argv[2]), held=ROWS)
peer = importlib.import_module(f"bench.peers.{sys.argv[1]}").Peer(case)
peer.run(peer.prepare(case.batches(STEPS)))
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"peak": peak}))
