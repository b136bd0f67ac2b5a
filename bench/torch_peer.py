#!/usr/bin/env python3
"""PyTorch's side of a race. Reads lines of words and answers each with the seconds of one call, best of many samples:

    THREADS simplenet                         one training step of the tutorial's network, as the tutorial writes it
    THREADS mlp|wide_mlp                      of the suite train, with the fused optimizer
    THREADS sgd_momentum|adam|adamw N         the fused kernel of the optimizer on N parameters, called directly
    THREADS forward|backward NAME N           a function or activation of N elements, without autograd
    THREADS mse|bce_with_logits N             value and gradient
    THREADS cross_entropy ROWS COLS           the same
"""
import sys
import time

import torch
from torch import nn


def best_of(call, seconds=0.5):
    """Samples of at least 2 ms for about so long."""
    call()
    count, end, best = 1, time.perf_counter() + seconds, 1e9
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


A = torch.ops.aten
FORWARD = {  # by the library's names
    **{name: getattr(A, name).out for name in (
        "exp", "expm1", "log", "log1p", "rsqrt", "erf", "sin", "cos", "sigmoid", "tanh", "leaky_relu", "gelu", "silu", "elu",
        "softplus", "log_sigmoid", "mish", "hardsigmoid", "hardswish", "hardtanh", "softshrink")},
    "relu": lambda x, out: A.clamp_min.out(x, 0, out=out),  # relu.out makes a temporary
    "gelu_tanh": lambda x, out: A.gelu.out(x, approximate="tanh", out=out),
    "relu6": lambda x, out: A.hardtanh.out(x, 0, 6, out=out),
    "threshold": lambda x, out: A.threshold.out(x, 0, 0, out=out),
}
BACKWARD = {
    "relu": lambda dy, x, dx: A.threshold_backward.grad_input(dy, x, 0, grad_input=dx),
    "leaky_relu": lambda dy, x, dx: A.leaky_relu_backward.grad_input(dy, x, 0.01, True, grad_input=dx),
    "sigmoid": lambda dy, x, dx: A.sigmoid_backward.grad_input(dy, x, grad_input=dx),
    "tanh": lambda dy, x, dx: A.tanh_backward.grad_input(dy, x, grad_input=dx),
    "gelu": lambda dy, x, dx: A.gelu_backward.grad_input(dy, x, grad_input=dx),
    "gelu_tanh": lambda dy, x, dx: A.gelu_backward.grad_input(dy, x, approximate="tanh", grad_input=dx),
    "silu": lambda dy, x, dx: A.silu_backward.grad_input(dy, x, grad_input=dx),
    "relu6": lambda dy, x, dx: A.hardtanh_backward.grad_input(dy, x, 0, 6, grad_input=dx),
    "elu": lambda dy, x, dx: A.elu_backward.grad_input(dy, 1, 1, 1, False, x, grad_input=dx),
    "softplus": lambda dy, x, dx: A.softplus_backward.grad_input(dy, x, 1, 20, grad_input=dx),
    "mish": lambda dy, x, dx: A.mish_backward(dy, x),
    "hardsigmoid": lambda dy, x, dx: A.hardsigmoid_backward.grad_input(dy, x, grad_input=dx),
    "hardswish": lambda dy, x, dx: A.hardswish_backward(dy, x),
    "hardtanh": lambda dy, x, dx: A.hardtanh_backward.grad_input(dy, x, -1, 1, grad_input=dx),
    "softshrink": lambda dy, x, dx: A.softshrink_backward.grad_input(dy, x, 0.5, grad_input=dx),
    "threshold": lambda dy, x, dx: A.threshold_backward.grad_input(dy, x, 0, grad_input=dx),
}


def elementwise(way, name, n):
    x, dy, out = torch.rand(n) * 8 - 4, torch.rand(n) * 8 - 4, torch.empty(n)
    if name in ("log", "log1p", "rsqrt"):
        x = x.abs() + 1e-3
    if way == "forward":
        return lambda: FORWARD[name](x, out=out)
    return lambda: BACKWARD[name](dy, x, out)


for line in sys.stdin:
    threads, what, *numbers = line.split()
    torch.set_num_threads(int(threads))
    if what in ("forward", "backward"):
        name = numbers[0]
        known = name in (FORWARD if what == "forward" else BACKWARD)
        print(best_of(elementwise(what, name, int(numbers[1])), 0.06) if known else 0, flush=True)
        continue
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
