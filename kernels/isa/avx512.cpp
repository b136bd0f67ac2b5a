// SPDX-License-Identifier: MIT
// Everything that is compiled for avx512; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

constinit const KernelTable kTableAvx512 = make_table<xsimd::avx512bw>(Isa::avx512);

}  // namespace tilewright::detail
