#!/usr/bin/env python3
"""The tutorial's network in PyTorch: writes its data, its first weights and its loss of every epoch to simplenet.txt.

    python3 tests/data/make_simplenet.py > tests/data/simplenet.txt        (Debian: python3-torch)
"""
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
x, target = torch.randn(100, 10), torch.randn(100, 1)
model = nn.Sequential(nn.Linear(10, 5), nn.Sigmoid(), nn.Linear(5, 1), nn.Sigmoid())


def show(name, tensor):
    print(name, *(f"{v:.9g}" for v in tensor.detach().flatten().tolist()))


show("x", x)
show("target", target)
for name, parameter in model.named_parameters():
    show(name, parameter)
criterion, optimizer, losses = nn.MSELoss(), torch.optim.Adam(model.parameters()), []
for epoch in range(1000):
    optimizer.zero_grad()
    loss = criterion(model(x), target)
    losses.append(loss)
    loss.backward()
    optimizer.step()
show("loss", torch.stack(losses))
