// SPDX-License-Identifier: MIT
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<double> kTableAvx512F64;
constinit const GemmKernels<double> kTableAvx512F64 = make_gemm<double, xsimd::avx512bw>(FusedFormulas{});

}  // namespace tilewright::detail
