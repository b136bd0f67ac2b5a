// SPDX-License-Identifier: MIT
// Everything that is compiled for sse2, with sse2_f32.cpp and sse2_f64.cpp; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableSse2F32;
extern const GemmKernels<double> kTableSse2F64;

constinit const KernelTable kTableSse2 = make_table<xsimd::sse2>(Isa::sse2, kTableSse2F32, kTableSse2F64);

}  // namespace tilewright::detail
