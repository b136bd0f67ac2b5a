// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<double> kTableSse2F64;
constinit const GemmKernels<double> kTableSse2F64 = make_gemm<double, xsimd::sse2>(FusedFormulas{});

}  // namespace tilewright::detail
