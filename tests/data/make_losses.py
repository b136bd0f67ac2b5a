#!/usr/bin/env python3
"""Every loss of PyTorch over its options on 4 x 5 inputs: values and gradients.

    python3 tests/data/make_losses.py > tests/data/losses.txt        (Debian: python3-torch)

Lines: "input", a name and 20 numbers (5 for class weights, 4 for classes); then "loss", its name, its options, "|", what
it returned (4 or 20 numbers for reduction none), "|", the gradients by its inputs one after the other.
"""
import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_num_threads(1)
ROWS, COLS = 4, 5
x = torch.randn(ROWS, COLS) * 2
y = torch.randn(ROWS, COLS)
y[1, 2] = x[1, 2]
p = torch.rand(ROWS, COLS)
p[0, 0], p[0, 1] = 1.0, 0.0
q = torch.softmax(torch.randn(ROWS, COLS), 1)
q[2] = torch.tensor([0, 0.25, 0.75, 0, 0])
signs = torch.where(torch.rand(ROWS, COLS) < 0.5, -1.0, 1.0)
classes = torch.tensor([3, 0, 4, 2])
weight = torch.rand(COLS) + 0.5
weights = torch.rand(ROWS, COLS) + 0.5


def numbers(tensor):
    return " ".join(f"{v:.9g}" for v in tensor.detach().flatten().tolist())


for name, value in dict(x=x, y=y, p=p, q=q, signs=signs, classes=classes, weight=weight, weights=weights).items():
    print("input", name, numbers(value))


def show(name, function, inputs, options, **arguments):
    for reduction in ("mean", "sum", "none", "batchmean"):
        if reduction == "batchmean" and name != "kl_div":
            continue
        leaves = [i.clone().requires_grad_() for i in inputs]
        value = function(*leaves, reduction=reduction, **arguments)
        value.sum().backward()
        words = [f"{k}={v}" for k, v in options.items()]
        gradients = " ".join(numbers(leaf.grad) for leaf in leaves)
        print("loss", name, f"reduction={reduction}", *words, "|", numbers(value), "|", gradients)


def elements(function, target, first=None):
    return lambda leaf, **a: function(leaf if first is None else first(leaf), target, **a)


show("mse", elements(F.mse_loss, y), [x], {})
show("l1", elements(F.l1_loss, y), [x], {})
for beta in (1.0, 0.3, 0.0):
    show("smooth_l1", elements(F.smooth_l1_loss, y), [x], {"beta": beta}, beta=beta)
for delta in (1.0, 0.7):
    show("huber", elements(F.huber_loss, y), [x], {"delta": delta}, delta=delta)
show("bce", elements(F.binary_cross_entropy, q), [p], {})
show("bce", elements(F.binary_cross_entropy, q), [p], {"weight": 1}, weight=weights)
show("bce_with_logits", elements(F.binary_cross_entropy_with_logits, p), [x], {})
show("bce_with_logits", elements(F.binary_cross_entropy_with_logits, p), [x], {"weight": 1, "pos_weight": 1},
     weight=weights, pos_weight=weight)
show("kl_div", elements(F.kl_div, q), [x], {})
show("kl_div", elements(F.kl_div, y), [x], {"log_target": 1}, log_target=True)
for margin in (1.0, 0.2):
    show("hinge_embedding", elements(F.hinge_embedding_loss, signs), [x], {"margin": margin}, margin=margin)
for margin in (0.0, 0.5):
    show("margin_ranking", lambda a, b, **k: F.margin_ranking_loss(a, b, signs, **k), [x, y], {"margin": margin},
         margin=margin)
for margin in (0.0, 0.3):
    show("cosine_embedding", lambda a, b, **k: F.cosine_embedding_loss(a, b, signs[:, 0], **k), [x, y],
         {"margin": margin}, margin=margin)
for options in ({}, {"weight": 1}, {"ignore_index": 4}, {"weight": 1, "ignore_index": 4}):
    arguments = {k: weight if k == "weight" else v for k, v in options.items()}
    show("nll", elements(F.nll_loss, classes), [x], options, **arguments)
    for smoothing in (0.0, 0.1):
        show("cross_entropy", elements(F.cross_entropy, classes), [x], options | {"label_smoothing": smoothing},
             label_smoothing=smoothing, **arguments)
for options in ({}, {"weight": 1}):
    arguments = {k: weight for k in options}
    for smoothing in (0.0, 0.2):
        show("cross_entropy_soft", elements(F.cross_entropy, q), [x], options | {"label_smoothing": smoothing},
             label_smoothing=smoothing, **arguments)
