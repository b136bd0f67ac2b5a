// SPDX-License-Identifier: MIT
// Everything of tilewright::kernels. tilewright/nn/nn.hpp adds layers, losses, optimizers and data.
#pragma once

#include "tilewright/activations.hpp"
#include "tilewright/elementwise.hpp"
#include "tilewright/error.hpp"
#include "tilewright/functions.hpp"
#include "tilewright/gemm.hpp"
#include "tilewright/isa.hpp"
#include "tilewright/losses.hpp"
#include "tilewright/machine.hpp"
#include "tilewright/matrix.hpp"
#include "tilewright/memory.hpp"
#include "tilewright/profile.hpp"
#include "tilewright/random.hpp"
#include "tilewright/rows.hpp"
#include "tilewright/threads.hpp"
#include "tilewright/updates.hpp"
#include "tilewright/version.hpp"
