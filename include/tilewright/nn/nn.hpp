// SPDX-License-Identifier: MIT
// Everything of tilewright::nn.
#pragma once

#include "tilewright/nn/data.hpp"
#include "tilewright/nn/dataset.hpp"
#include "tilewright/nn/embedding.hpp"
#include "tilewright/nn/files.hpp"
#include "tilewright/nn/init.hpp"
#include "tilewright/nn/inspect.hpp"
#include "tilewright/nn/layer.hpp"
#include "tilewright/nn/loss.hpp"
#include "tilewright/nn/metrics.hpp"
#include "tilewright/nn/normalisation.hpp"
#include "tilewright/nn/optim.hpp"
#include "tilewright/nn/schedule.hpp"
#include "tilewright/nn/sequential.hpp"
#include "tilewright/nn/tables.hpp"
#include "tilewright/nn/text.hpp"
#include "tilewright/nn/trainer.hpp"
#include "tilewright/tilewright.hpp"
