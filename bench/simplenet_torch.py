#!/usr/bin/env python3
"""The tutorial's network in PyTorch, as the tutorial writes it: prints the seconds of one training step, best of five runs of 200.

    simplenet_torch.py [THREADS]        (Debian: python3-torch)
"""
import sys
import time

import torch
from torch import nn

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
x, target = torch.randn(100, 10), torch.randn(100, 1)
model = nn.Sequential(nn.Linear(10, 5), nn.Sigmoid(), nn.Linear(5, 1), nn.Sigmoid())
criterion, optimizer, best = nn.MSELoss(), torch.optim.Adam(model.parameters()), 1e9
for run in range(6):
    start = time.perf_counter()
    for step in range(200):
        optimizer.zero_grad()
        criterion(model(x), target).backward()
        optimizer.step()
    if run > 0:
        best = min(best, (time.perf_counter() - start) / 200)
print(best)
