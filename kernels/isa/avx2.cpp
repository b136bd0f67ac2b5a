// SPDX-License-Identifier: MIT
// Everything that is compiled for avx2; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

constinit const KernelTable kTableAvx2 = make_table<xsimd::fma3<xsimd::avx2>>(Isa::avx2);

}  // namespace tilewright::detail
