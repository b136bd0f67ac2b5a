// SPDX-License-Identifier: MIT
// Everything that is compiled for avx2, with avx2_f32.cpp and avx2_f64.cpp; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableAvx2F32;
extern const GemmKernels<double> kTableAvx2F64;

constinit const KernelTable kTableAvx2 = make_table<xsimd::fma3<xsimd::avx2>>(Isa::avx2, kTableAvx2F32, kTableAvx2F64);

}  // namespace tilewright::detail
