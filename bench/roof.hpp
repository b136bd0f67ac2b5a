// SPDX-License-Identifier: MIT
// The machine's roofs, measured beside each benchmark: fused multiply-adds on registers, and bare loops that move the
// same streams. Nothing here uses the library.
#pragma once

#include <functional>
#include <vector>

#include "tilewright/tilewright.hpp"

namespace tilewright::bench {

/// One run of multiply-adds on registers for an element type of `bytes` on the ISA, on `threads` threads; returns the
/// operations done (2 per multiply-add).
double fma_burst(Isa isa, int bytes, int threads);

/// Reads `reads` arrays of n floats and writes `writes` arrays (all different), on `threads` threads: what any kernel
/// with this traffic must do at least. in_place: what is written is among what is read, as in updates. Supported: (1,0)
/// (2,0), (1,1) (2,1) both ways, (3,2) (4,3) in place. The arrays are kept and grow.
std::function<void()> stream(int reads, int writes, Index n, int threads, bool in_place = false);

}  // namespace tilewright::bench
