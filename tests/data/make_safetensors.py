# SPDX-License-Identifier: MIT
# Writes tests/data/torch.safetensors from a PyTorch model. With a file as its argument, it reads what tilewright wrote
# (the model "Linear(5, 8), BatchNorm1d(8), GELU(), Linear(8, 3)" with x and y under "x" and "y") and compares.
#   python3 tests/data/make_safetensors.py [FILE]
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn

model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 3))
if len(sys.argv) > 1:
    tensors = load_file(sys.argv[1])
    x, y = tensors.pop("x"), tensors.pop("y")
    model.load_state_dict(tensors)
    model.eval()
    difference = (model(x) - y).abs().max().item()
    print("largest difference", difference)
    sys.exit(0 if difference < 1e-6 else 1)
torch.manual_seed(1)
model(torch.randn(16, 5))
model.eval()
x = torch.randn(4, 5)
tensors = {"model." + name: tensor for name, tensor in model.state_dict().items()}
tensors["x"], tensors["y"] = x, model(x).detach()
tensors["half"] = torch.tensor([0, -1.5, 65504, 2.0**-14, 2.0**-24, torch.inf], dtype=torch.float16)
tensors["brain"] = torch.tensor([0, -1.5, 65536, 1, 3.140625, -torch.inf], dtype=torch.bfloat16)
tensors["integers"] = torch.tensor([-128, -1, 0, 1, 2, 127], dtype=torch.int8)
save_file(tensors, "tests/data/torch.safetensors", {"format": "pt"})
