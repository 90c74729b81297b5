"""`cr.train` on digits, as a user's first program would call it."""

from __future__ import annotations

import json
import os

if cores := os.environ.get("BENCH_CORES"):
    os.sched_setaffinity(0, {int(c) for c in cores.split(",")})

import numpy as np

import chainrule as cr

nn = cr.nn
net = nn.Sequential(nn.Dense(128), nn.relu, nn.Dense(64), nn.relu, nn.Dense(10))
run = cr.train(net, "digits", epochs=20, batch_size=32)
outputs = run.net(np.zeros((1, 64), np.float32))
assert np.isfinite(outputs).all()
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"peak": peak}))
