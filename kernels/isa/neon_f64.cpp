// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<double> kTableNeonF64;
constinit const GemmKernels<double> kTableNeonF64 = make_gemm<double, xsimd::neon64>(FusedFormulas{});

}  // namespace tilewright::detail
