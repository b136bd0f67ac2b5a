// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableAvx512F32;
constinit const GemmKernels<float> kTableAvx512F32 = make_gemm<float, xsimd::avx512bw>(FusedFormulas{});

}  // namespace tilewright::detail
