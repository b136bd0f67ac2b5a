// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<double> kTableAvx2F64;
constinit const GemmKernels<double> kTableAvx2F64 = make_gemm<double, xsimd::fma3<xsimd::avx2>>(FusedFormulas{});

}  // namespace tilewright::detail
