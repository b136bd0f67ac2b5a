// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableAvx2F32;
constinit const GemmKernels<float> kTableAvx2F32 = make_gemm<float, xsimd::fma3<xsimd::avx2>>(FusedFormulas{});

}  // namespace tilewright::detail
