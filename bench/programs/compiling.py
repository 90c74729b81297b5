"""How long a case's training step takes to trace, to compile and to run once; run it with
CHAINRULE_CACHE=off. Python, NumPy and the imports are not counted."""

from __future__ import annotations

import json
import os
import sys
import time

if cores := os.environ.get("BENCH_CORES"):
    os.sched_setaffinity(0, {int(c) for c in cores.split(",")})

import chainrule.runtime.steps  # noqa: F401 # brings LLVM, which is not compiling
from bench.cases import find
from bench.peers.ours import Peer
from chainrule.native import target

case = find(sys.argv[1])
peer = Peer(case)
batches = peer.prepare(case.batches(1))
target.machine()  # LLVM looks at the processor once in a process
began = time.perf_counter()
peer.run(batches)
print(json.dumps({"seconds": time.perf_counter() - began}))
