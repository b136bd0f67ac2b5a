// SPDX-License-Identifier: MIT
// Everything that is compiled for neon; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

constinit const KernelTable kTableNeon = make_table<xsimd::neon64>(Isa::neon);

}  // namespace tilewright::detail
