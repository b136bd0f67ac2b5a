// SPDX-License-Identifier: MIT
// Everything that is compiled for neon, with neon_f32.cpp and neon_f64.cpp; cmake/TilewrightIsa.cmake has the flags.
#include "kernels/isa/make_table.hpp"

namespace tilewright::detail {

extern const GemmKernels<float> kTableNeonF32;
extern const GemmKernels<double> kTableNeonF64;

constinit const KernelTable kTableNeon = make_table<xsimd::neon64>(Isa::neon, kTableNeonF32, kTableNeonF64);

}  // namespace tilewright::detail
