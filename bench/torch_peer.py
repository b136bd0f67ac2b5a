#!/usr/bin/env python3
"""PyTorch's side of a race. Reads lines of words and answers each with the seconds of one call, best of many samples:

    THREADS simplenet                         one training step of the tutorial's network, as the tutorial writes it
    THREADS mlp|wide_mlp                      of the suite train, with the fused optimizer
    THREADS sgd_momentum|adam|adamw N         the fused kernel of the optimizer on N parameters, called directly
    THREADS mse|bce_with_logits N             value and gradient
    THREADS cross_entropy ROWS COLS           the same
"""
import sys
import time

import torch
from torch import nn


def best_of(call):
    """Samples of at least 2 ms for about half a second."""
    call()
    count, end, best = 1, time.perf_counter() + 0.5, 1e9
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            call()
        past = time.perf_counter() - start
        best = min(best, past / count)
        if past < 2e-3:
            count *= 2
    return best


def simplenet():
    x, target = torch.randn(100, 10), torch.randn(100, 1)
    model = nn.Sequential(nn.Linear(10, 5), nn.Sigmoid(), nn.Linear(5, 1), nn.Sigmoid())
    criterion, optimizer = nn.MSELoss(), torch.optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        criterion(model(x), target).backward()
        optimizer.step()

    return step


def mlp(wide):
    L = nn.Linear
    if wide:
        model = nn.Sequential(L(1024, 4096), nn.GELU(), L(4096, 4096), nn.GELU(), L(4096, 1024))
        x, target, criterion = torch.randn(256, 1024), torch.randn(256, 1024), nn.MSELoss()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    else:
        model = nn.Sequential(L(784, 512), nn.ReLU(), L(512, 256), nn.ReLU(), L(256, 10))
        x, target, criterion = torch.randn(128, 784), torch.randint(10, (128,)), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step():
        optimizer.zero_grad()
        criterion(model(x), target).backward()
        optimizer.step()

    return step


def update(name, n):
    p, g, m, v = torch.randn(n), torch.randn(n), torch.randn(n), torch.rand(n)
    if name == "sgd_momentum":
        return lambda: torch._fused_sgd_([p], [g], [m], lr=1e-4, momentum=0.9, weight_decay=0.0, dampening=0.0,
                                         nesterov=False, maximize=False, is_first_step=False)
    kernel = torch._fused_adam_ if name == "adam" else torch._fused_adamw_
    return lambda: kernel([p], [g], [m], [v], [], [torch.ones(())], lr=1e-4, beta1=0.9, beta2=0.999, eps=1e-8,
                          weight_decay=0.0 if name == "adam" else 0.01, amsgrad=False, maximize=False)


def loss(name, rows, cols=1):
    x = torch.randn(rows, cols, requires_grad=True)
    target = torch.randint(cols, (rows,)) if name == "cross_entropy" else torch.rand(rows, cols)
    function = {"mse": nn.functional.mse_loss, "bce_with_logits": nn.functional.binary_cross_entropy_with_logits,
                "cross_entropy": nn.functional.cross_entropy}[name]

    def both():
        x.grad = None
        function(x, target).backward()

    return both


for line in sys.stdin:
    threads, what, *numbers = line.split()
    torch.set_num_threads(int(threads))
    numbers = [int(n) for n in numbers]
    if what == "simplenet":
        call = simplenet()
    elif what.endswith("mlp"):
        call = mlp(what == "wide_mlp")
    elif what in ("mse", "bce_with_logits", "cross_entropy"):
        call = loss(what, *numbers)
    else:
        call = update(what, *numbers)
    print(best_of(call), flush=True)
