// SPDX-License-Identifier: MIT
// Everything that is compiled for sse2; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

constinit const KernelTable kTableSse2 = make_table<xsimd::sse2>(Isa::sse2);

}  // namespace tilewright::detail
