// SPDX-License-Identifier: MIT
// Which instruction set the kernels use. One library holds all of them; the best that the CPU has is chosen by feature
// bits at the first call. The environment variable TILEWRIGHT_ISA caps the choice: a name the CPU is too old for falls
// back to the best below it, an unknown name makes the first call throw ValueError. isa_reason() says what was decided.
//
// avx2, avx512 and neon give the same bits as each other. sse2 has no fused multiply-add: its results differ in the
// last bits, and are the same for any number of threads.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tilewright/export.hpp"

namespace tilewright {

/// avx2 means AVX2 and FMA; avx512 means F, CD, BW, DQ and VL.
enum class Isa { sse2, avx2, avx512, neon };

TILEWRIGHT_API std::string_view to_string(Isa isa) noexcept;
TILEWRIGHT_API std::optional<Isa> isa_from_string(std::string_view name) noexcept;

/// What this library was built with and this CPU can run, slowest first.
TILEWRIGHT_API std::span<const Isa> available_isas() noexcept;

/// What the next call will use. Throws ValueError when TILEWRIGHT_ISA holds an unknown name.
TILEWRIGHT_API Isa active_isa();

/// Why: "best of this CPU", "TILEWRIGHT_ISA=avx2", "TILEWRIGHT_ISA=avx512 is not available here" or "set_isa".
TILEWRIGHT_API std::string isa_reason();

/// Uses `isa` from now on, in every thread. Throws ValueError when it is not in available_isas().
TILEWRIGHT_API void set_isa(Isa isa);

}  // namespace tilewright
