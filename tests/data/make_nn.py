# SPDX-License-Identifier: MIT
# Prints tests/data/nn.txt: what PyTorch computes for every layer, loss, optimizer and schedule of tilewright::nn in 50
# steps, in double. Lines are "case what numbers"; numbers that both sides can draw by themselves are not written.
#   python3 tests/data/make_nn.py > tests/data/nn.txt
import torch
from torch import nn

torch.set_default_dtype(torch.float64)
STEPS, BATCH = 50, 8


def draw(stream, *shape):
    """Numbers in [0, 1) that floats hold exactly; tests/nn_pytorch_test.cpp draws the same."""
    k = torch.arange(int(torch.tensor(shape).prod()) if shape else 1)
    mask = 0xFFFFFFFF
    h = (k * 0x9E3779B1 + stream * 0x85EBCA77) & mask
    h = h ^ (h >> 15)
    h = (h * 0x2C1B3C6D) & mask
    h = h ^ (h >> 12)
    return ((h >> 8).double() / 2**24).reshape(shape)


def fill(model):
    for i, (name, p) in enumerate(model.named_parameters()):
        u = draw(100 + i, *p.shape)
        with torch.no_grad():
            if p.dim() == 2:
                p.copy_((u - 0.5).float() * 2)
            else:
                p.copy_(u * 0.5 + 0.75 if name.endswith("weight") else (u - 0.5) * 0.5)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Flat(nn.Module):
    def __init__(self, inner, shape=None):
        super().__init__()
        self.inner, self.shape = inner, shape

    def forward(self, x):
        return self.inner(x.reshape(len(x), *self.shape) if self.shape else x.long()).reshape(len(x), -1)


def show(case, what, values):
    print(case, what, *(f"{v:.7g}" for v in torch.as_tensor(values).detach().reshape(-1).tolist()))


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def sgd(p):
    return torch.optim.SGD(p, lr=0.05, momentum=0.9)


def run(case, model, optimizer=sgd, loss=nn.MSELoss(), target="numbers", ids=0, before=None):
    fill(model)
    # ids may stand 0 for padding; nothing else depends on them
    x = torch.floor(draw(1, BATCH, 5) * ids) if ids else (draw(1, BATCH, 6).float().double() - 0.5) * 4
    if not ids:
        x.requires_grad_()
    y = model(x)
    t = {"numbers": lambda: draw(2, *y.shape),
         "signs": lambda: torch.where(draw(2, *y.shape) < 0.5, -1.0, 1.0),
         "classes": lambda: torch.floor(draw(2, BATCH) * 3).long(),
         "distribution": lambda: draw(2, *y.shape) / 1.5}[target]()
    if isinstance(loss, nn.KLDivLoss) and loss.log_target:
        t = -t
    for b in model.buffers():  # the call above counted
        b.zero_() if b.dim() == 0 else None
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.zero_()
        if name.endswith("running_var"):
            b.fill_(1)
    optimizer = optimizer(model if before == "model" else model.parameters())
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = loss(model(x), t)
        value.backward()
        if step == 0 and not ids:
            show(case, "dx", x.grad)
        if before == "clip":
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        losses.append(value.item())
    show(case, "loss", losses)
    for name, p in model.named_parameters():
        show(case, name.replace("inner.", ""), p)
    for name, b in model.named_buffers():
        show(case, name, b)
    model.eval()
    show(case, "y", model(x))


L = nn.Linear
run("layer_norm", nn.Sequential(L(6, 8), nn.LayerNorm(8), L(8, 3)))
run("layer_norm_plain", nn.Sequential(L(6, 8), nn.LayerNorm(8, eps=1e-3, elementwise_affine=False), L(8, 3)))
run("layer_norm_no_bias", nn.Sequential(L(6, 8), nn.LayerNorm(8, bias=False), L(8, 3)))
run("rms_norm", nn.Sequential(L(6, 8), nn.RMSNorm(8, eps=1e-6), L(8, 3)))
run("batch_norm", nn.Sequential(L(6, 8), nn.BatchNorm1d(8), nn.ReLU(), L(8, 3)))
run("batch_norm_plain", nn.Sequential(L(6, 8), nn.BatchNorm1d(8, eps=1e-3, momentum=0.3, affine=False), L(8, 3)))
run("group_norm", nn.Sequential(L(6, 8), nn.GroupNorm(2, 8), L(8, 3)))
run("prelu", nn.Sequential(L(6, 8), nn.PReLU(), L(8, 3)))
run("prelu_each", nn.Sequential(L(6, 8), nn.PReLU(8), L(8, 3)))
run("no_bias", nn.Sequential(L(6, 8, bias=False), nn.Tanh(), nn.Flatten(), L(8, 3, bias=False)))
run("residual", nn.Sequential(L(6, 8), Residual(nn.LayerNorm(8), L(8, 8), nn.GELU(), L(8, 8), nn.Sigmoid()), L(8, 3)))
run("nested", nn.Sequential(nn.Sequential(L(6, 8), nn.SiLU()), nn.Sequential(L(8, 8), nn.Sequential(nn.Tanh(), L(8, 3)))))
run("embedding", nn.Sequential(Flat(nn.Embedding(9, 4)), L(20, 3)), ids=9)
run("embedding_padding", nn.Sequential(Flat(nn.Embedding(9, 4, padding_idx=2)), L(20, 3)), ids=9)
run("bag_mean", nn.Sequential(Flat(nn.EmbeddingBag(9, 4)), L(4, 3)), ids=9)
run("bag_sum_padding", nn.Sequential(Flat(nn.EmbeddingBag(9, 4, mode="sum", padding_idx=2)), L(4, 3)), ids=9)
run("bag_mean_padding", nn.Sequential(Flat(nn.EmbeddingBag(9, 4, padding_idx=2)), L(4, 3)), ids=9)

activations = dict(
    relu=nn.ReLU(), relu6=nn.ReLU6(), leaky_relu=nn.LeakyReLU(0.1), elu=nn.ELU(0.7), selu=nn.SELU(), celu=nn.CELU(0.7),
    sigmoid=nn.Sigmoid(), log_sigmoid=nn.LogSigmoid(), gelu=nn.GELU(), gelu_tanh=nn.GELU("tanh"), silu=nn.SiLU(),
    mish=nn.Mish(), softplus=nn.Softplus(2, 1.5), softsign=nn.Softsign(), hardsigmoid=nn.Hardsigmoid(),
    hardswish=nn.Hardswish(), hardtanh=nn.Hardtanh(-0.6, 0.8), tanhshrink=nn.Tanhshrink(),
    softshrink=nn.Softshrink(0.2), threshold=nn.Threshold(0.1, -0.3))
for name, f in activations.items():
    run(name, nn.Sequential(L(6, 8), f, L(8, 3)))

o = torch.optim
optimizers = dict(
    sgd=lambda p: o.SGD(p, 0.1), sgd_all=lambda p: o.SGD(p, 0.05, 0.9, 0, 0.01, True),
    sgd_dampening=lambda p: o.SGD(p, 0.05, 0.8, 0.3), adam=lambda p: o.Adam(p, 0.01),
    adam_all=lambda p: o.Adam(p, 0.01, (0.8, 0.95), 1e-6, 0.02, True), adamw=lambda p: o.AdamW(p, 0.01, weight_decay=0.1),
    adamax=lambda p: o.Adamax(p, 0.01, weight_decay=0.01), nadam=lambda p: o.NAdam(p, 0.01, weight_decay=0.01),
    nadam_decoupled=lambda p: o.NAdam(p, 0.01, weight_decay=0.1, decoupled_weight_decay=True),
    radam=lambda p: o.RAdam(p, 0.01, weight_decay=0.01), rmsprop=lambda p: o.RMSprop(p, 0.01),
    rmsprop_all=lambda p: o.RMSprop(p, 0.005, 0.9, 1e-6, 0.01, 0.5, True), adagrad=lambda p: o.Adagrad(p, 0.05, 0.01, 0.01, 0.1),
    adadelta=lambda p: o.Adadelta(p, 0.5, 0.8, 1e-5, 0.01), rprop=lambda p: o.Rprop(p, 0.01, (0.6, 1.1), (1e-5, 0.5)))
for name, f in optimizers.items():
    run("optim_" + name, mlp(), f)
run("optim_groups", mlp(), lambda m: o.AdamW([
    {"params": [m[0].weight, m[2].weight]}, {"params": [m[0].bias, m[2].bias], "lr": 0.03, "weight_decay": 0.0}],
    lr=0.01, weight_decay=0.1), before="model")
run("optim_clip", mlp(), before="clip")

weight = torch.tensor([0.5, 1.0, 2.0])
losses = dict(
    l1=(nn.L1Loss(), "numbers"), smooth_l1=(nn.SmoothL1Loss(beta=0.3), "numbers"), huber=(nn.HuberLoss(delta=0.4), "numbers"),
    mse_sum=(nn.MSELoss(reduction="sum"), "numbers"), bce_with_logits=(nn.BCEWithLogitsLoss(), "numbers"),
    bce_pos_weight=(nn.BCEWithLogitsLoss(pos_weight=weight), "numbers"),
    kl_div=(nn.KLDivLoss(reduction="batchmean"), "distribution"), kl_div_log=(nn.KLDivLoss(log_target=True), "distribution"),
    hinge=(nn.HingeEmbeddingLoss(margin=0.8), "signs"), cross_entropy=(nn.CrossEntropyLoss(), "classes"),
    cross_entropy_all=(nn.CrossEntropyLoss(weight=weight, ignore_index=1, label_smoothing=0.1), "classes"),
    cross_entropy_probabilities=(nn.CrossEntropyLoss(), "distribution"))
for name, (f, target) in losses.items():
    run("loss_" + name, mlp(), lambda p: o.SGD(p, 0.01), f, target)
run("loss_bce", nn.Sequential(*mlp(), nn.Sigmoid()), loss=nn.BCELoss())
run("loss_nll", nn.Sequential(*mlp(), nn.LogSigmoid()), loss=nn.NLLLoss(weight=weight, ignore_index=0), target="classes")

s = torch.optim.lr_scheduler
schedules = dict(
    step=lambda p: s.StepLR(p, 7, 0.5), multi_step=lambda p: s.MultiStepLR(p, [5, 20, 21], 0.3),
    exponential=lambda p: s.ExponentialLR(p, 0.93), linear=lambda p: s.LinearLR(p, 0.2, 0.9, 12),
    polynomial=lambda p: s.PolynomialLR(p, 30, 2.0), cosine=lambda p: s.CosineAnnealingLR(p, 20, 0.01),
    restarts=lambda p: s.CosineAnnealingWarmRestarts(p, 5, 2, 0.02), restarts_even=lambda p: s.CosineAnnealingWarmRestarts(p, 6),
    one_cycle=lambda p: s.OneCycleLR(p, 0.4, 50, cycle_momentum=False),
    chained=lambda p: s.ChainedScheduler([s.LinearLR(p, 0.1, 1, 10), s.ExponentialLR(p, 0.95)]),
    sequential=lambda p: s.SequentialLR(p, [s.LinearLR(p, 0.1, 1, 8), s.CosineAnnealingLR(p, 42)], [8]))
for name, f in schedules.items():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.2)
    schedule, rates = f(optimizer), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    show("schedule_" + name, "lr", rates)
# The momentum that goes with the rate, and where it leads: the gradient is the weight.
o = torch.optim
for name, f in dict(SGD=lambda w: o.SGD(w, 0.2, momentum=0.9, dampening=0.1), RMSprop=lambda w: o.RMSprop(w, 0.2, momentum=0.9),
                    Adam=lambda w: o.Adam(w, 0.2), AdamW=lambda w: o.AdamW(w, 0.2), Adamax=lambda w: o.Adamax(w, 0.2),
                    NAdam=lambda w: o.NAdam(w, 0.2), RAdam=lambda w: o.RAdam(w, 0.2)).items():
    w = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    optimizer = f([w])
    schedule, momentum = s.OneCycleLR(optimizer, 0.02, 50), []
    for _ in range(STEPS):
        group = optimizer.param_groups[0]
        momentum.append(group["betas"][0] if "betas" in group else group["momentum"])
        w.grad = w.detach().clone()
        optimizer.step()
        schedule.step() if len(momentum) < STEPS else None
    show("one_cycle_" + name, "momentum", momentum)
    show("one_cycle_" + name, "w", w)
optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.2)
schedule, rates = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=1e-2, cooldown=3, min_lr=0.01), []
for step in range(STEPS):
    rates.append(optimizer.param_groups[0]["lr"])
    schedule.step(1 / (1 + step // 14))
show("schedule_plateau", "lr", rates)
