// SPDX-License-Identifier: MIT
// docs/extending.md's layer, loss and optimizer, taken from the page by tests/CMakeLists.txt, must compile and work.
#include <cmath>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

#include "extending_layer.inc"
#include "extending_loss.inc"
#include "extending_optimizer.inc"

TEST(Extending, LayerLossAndOptimizerOfThePage) {
  EXPECT_LT(nn::gradient_check(std::make_unique<Scale>(8), 5, 8), 2e-3);
  const nn::Dataset data = nn::generate_regression(200, 4, 0.01, 1);
  nn::Sequential model(Scale(4), nn::Linear(4, 1));
  LogCosh loss;
  Signum optimizer(model.parameters(), 3e-3);
  nn::DataLoader loader(data, {.batch_size = 20});
  const nn::History history = nn::fit(model, loss, optimizer, loader, {.epochs = 60, .validation = &data});
  EXPECT_LT(history.values("validation_loss").back(), 0.02 * history.values("validation_loss").front());
  EXPECT_EQ(test::message_of<ValueError>([&] { loss(data.x, std::vector<Index>{1}); }),
            "LogCosh: the target must be a matrix, not classes");
}

}  // namespace
}  // namespace tilewright
