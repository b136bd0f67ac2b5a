// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableSse2F32;
constinit const GemmKernels<float> kTableSse2F32 = make_gemm<float, xsimd::sse2>(FusedFormulas{});

}  // namespace tilewright::detail
