// SPDX-License-Identifier: MIT
// What the families of the catalogue have in common.
#pragma once

#include "tests/calls.hpp"

namespace tilewright::test {

inline constexpr Want kRows{.layout = Layout::rows};
inline constexpr Want kPositive{.values = Values::positive};
inline constexpr Want kOptional{.optional = true};
inline constexpr Want kOptionalRows{.layout = Layout::rows, .optional = true};
inline constexpr Want kSigns{.values = Values::sign};
inline constexpr Want kProbabilities{.values = Values::probability};

inline Activation any_activation(Operands& o) {
  return static_cast<ActivationKind>(o.bits() % static_cast<std::uint64_t>(kActivationKinds));
}

std::span<const CatalogueEntry> products();
std::span<const CatalogueEntry> rows_and_losses();
std::span<const CatalogueEntry> elements_and_updates();

}  // namespace tilewright::test
