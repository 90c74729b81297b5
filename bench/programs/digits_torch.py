"""The same training as digits.py, by PyTorch: rows of the same shape, its own usual loop."""

from __future__ import annotations

import json
import os

if cores := os.environ.get("BENCH_CORES"):
    os.sched_setaffinity(0, {int(c) for c in cores.split(",")})

import torch

ROWS, EPOCHS, BATCH = 1437, 20, 32  # what `cr.train` keeps of the 1,797 digits to train on

torch.set_num_threads(2)
x, y = torch.rand(ROWS, 64), torch.randint(0, 10, (ROWS,))
net = torch.nn.Sequential(
    torch.nn.Linear(64, 128),
    torch.nn.ReLU(),
    torch.nn.Linear(128, 64),
    torch.nn.ReLU(),
    torch.nn.Linear(64, 10),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
for _ in range(EPOCHS):
    for rows in torch.randperm(ROWS).split(BATCH):
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
assert torch.isfinite(loss)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"peak": peak}))
