// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableNeonF32;
constinit const GemmKernels<float> kTableNeonF32 = make_gemm<float, xsimd::neon64>(FusedFormulas{});

}  // namespace tilewright::detail
