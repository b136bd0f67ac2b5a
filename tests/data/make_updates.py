#!/usr/bin/env python3
"""Every optimizer of PyTorch over its options: 20 steps on 7 parameters, and the parameters after the last.

    python3 tests/data/make_updates.py > tests/data/updates.txt        (Debian: python3-torch)

Lines: "start" and the parameters, "gradient" and those of each step, then optimizer, options and the result.
"""
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
STEPS, COUNT = 20, 7
start = torch.randn(COUNT)
gradients = torch.randn(STEPS, COUNT)
gradients[:, 6] = 0  # a parameter that nothing pulls at
gradients[:, 5] *= 1e-3


def show(name, tensor):
    print(name, *(f"{v:.9g}" for v in tensor.detach().tolist()))


show("start", start)
for g in gradients:
    show("gradient", g)

CASES = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9)),
    ("SGD", dict(lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=True)),
    ("Adam", dict(lr=0.01)),
    ("Adam", dict(lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("Adam", dict(lr=0.01, amsgrad=True)),
    ("Adam", dict(lr=0.01, amsgrad=True, weight_decay=0.1)),
    ("AdamW", dict(lr=0.01, weight_decay=0.1)),
    ("AdamW", dict(lr=0.01, weight_decay=0.1, amsgrad=True)),
    ("Adamax", dict()),
    ("Adamax", dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)),
    ("NAdam", dict()),
    ("NAdam", dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, momentum_decay=0.01)),
    ("NAdam", dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)),
    ("RAdam", dict()),
    ("RAdam", dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)),
    ("RAdam", dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)),
    ("RMSprop", dict()),
    ("RMSprop", dict(alpha=0.9, eps=1e-6, weight_decay=0.1)),
    ("RMSprop", dict(momentum=0.9)),
    ("RMSprop", dict(centered=True)),
    ("RMSprop", dict(centered=True, momentum=0.5, weight_decay=0.1)),
    ("Adagrad", dict()),
    ("Adagrad", dict(lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-8)),
    ("Adadelta", dict()),
    ("Adadelta", dict(lr=0.5, rho=0.8, eps=1e-5, weight_decay=0.1)),
    ("Rprop", dict()),
    ("Rprop", dict(lr=0.1, etas=(0.6, 1.1), step_sizes=(1e-3, 0.2))),
]
for name, options in CASES:
    p = torch.nn.Parameter(start.clone())
    optimizer = getattr(torch.optim, name)([p], foreach=False, **options)
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    words = []
    for key, value in options.items():
        if isinstance(value, tuple):
            words += [f"{key}0={value[0]!r}", f"{key}1={value[1]!r}"]
        else:
            words.append(f"{key}={float(value)!r}")
    show(f"{name} {len(words)} {' '.join(words)}".strip(), p)
