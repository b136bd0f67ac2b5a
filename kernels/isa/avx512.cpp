// SPDX-License-Identifier: MIT
// Everything that is compiled for avx512, with avx512_f32.cpp and avx512_f64.cpp; cmake/TilewrightIsa.cmake has the
// flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableAvx512F32;
extern const GemmKernels<double> kTableAvx512F64;

constinit const KernelTable kTableAvx512 = make_table<xsimd::avx512bw>(Isa::avx512, kTableAvx512F32, kTableAvx512F64);

}  // namespace tilewright::detail
