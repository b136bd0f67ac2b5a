// SPDX-License-Identifier: MIT
// The machine and its roofs: what it is, and how fast bare loops run on it. A kernel cannot be faster than the loop
// that does nothing but its multiply-adds, nor than the one that does nothing but move its arrays,
// nor than the one that does nothing but its divisions and square roots.
#pragma once

#include <span>
#include <string>

#include "tilewright/isa.hpp"

namespace tilewright {

/// What the machine is.
struct Machine {
  std::string cpu;             ///< the model's name
  int logical_cpus;            ///< in the affinity mask
  int physical_cores;          ///< in the affinity mask
  double quota;                ///< CPUs that the cgroup allows; 0: no limit
  int threads;                 ///< num_threads()
  std::string threads_reason;  ///< where that number comes from
  Index l1_bytes;              ///< data cache of a core
  Index l2_bytes;              ///< data cache of a core
  Index l3_bytes;              ///< data cache
};

TILEWRIGHT_API Machine machine();

/// Speeds of the active ISA on a number of threads.
struct Roofs {
  Isa isa{};             ///< measured with its instructions
  int threads = 1;       ///< measured on that many
  double flops_f32 = 0;  ///< fused multiply-adds a second, times 2
  double flops_f64 = 0;  ///< a second; a multiply-add counts as two
  /// Bytes a second from L1, L2, L3 and memory: reading an array; reading one and writing another, to memory past the
  /// caches.
  double read[4] = {};
  double copy[4] = {};  ///< bytes a second: read one stream and write one
  /// Divisions of floats a second, each with 0, 1 and 2 square roots.
  double divisions[3] = {};

  /// Seconds that a call needs at least which does so many FLOPs and moves so many bytes. Its arrays are taken to be in
  /// the smallest level that holds them, as they are in a call that is repeated.
  TILEWRIGHT_API double seconds(double flops, double bytes_read, double bytes_written, int element_bytes) const;
};

/// Measures them for about `seconds`; threads 0: num_threads(). Throws ValueError as operations do, std::bad_alloc.
TILEWRIGHT_API Roofs measure_roofs(int threads = 0, double seconds = 0.1);

namespace roof {

/// Runs some 10^6 multiply-adds of registers on each of so many threads; returns the FLOPs done.
TILEWRIGHT_API double multiply_add(int element_bytes, int threads);

/// Runs some 10^6 divisions of float registers, each with 0, 1 or 2 square roots, on each of so many threads; returns
/// the divisions of floats done. Throws ValueError for another number of roots.
TILEWRIGHT_API double divide(int roots, int threads);

/// Reads `reads` arrays of n floats and writes `writes`, on so many threads. Which: arrays[0 .. reads) are read and the
/// next ones written for (1,0) (2,0) (1,1) (2,1); for (3,2) and (4,3) all but the first are read and written. Arrays
/// may repeat. A single result is stored as Stores says (memory.hpp). Throws ValueError for another mix.
TILEWRIGHT_API void stream(int reads, int writes, std::span<float* const> arrays, Index n, int threads);

}  // namespace roof
}  // namespace tilewright
