// SPDX-License-Identifier: MIT
// TILEWRIGHT_API marks what the libraries export; everything else is hidden.
#pragma once

#include <cstdint>

#define TILEWRIGHT_API __attribute__((visibility("default")))

namespace tilewright {

/// Counts, extents and strides, always in elements unless a name ends in `_bytes`.
using Index = std::int64_t;

}  // namespace tilewright
