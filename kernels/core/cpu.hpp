// SPDX-License-Identifier: MIT
// What the machine is: cores that may be used, and cache sizes. Read once; nothing is ever written.
#pragma once

#include <cerrno>
#include <string>

#include "tilewright/export.hpp"

namespace tilewright::detail {

/// While it lives, whatever asks the system may fail: errno is the caller's again afterwards.
class KeepErrno {
 public:
  KeepErrno() noexcept : before_(errno) {}
  ~KeepErrno() { errno = before_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  const int before_;
};

struct CacheSizes {
  Index l1_bytes;  // data, per core
  Index l2_bytes;  // per core
  Index l3_bytes;  // shared; 0 when there is none
};

/// From sysfs; where that is silent, the sizes of a common server core (32 KiB, 1 MiB, 32 MiB).
const CacheSizes& cache_sizes() noexcept;

/// Zen 5 and its like, told by their larger first-level cache: two multiplications of 64 bytes start in a cycle, and
/// what is asked for comes as fast as what the hardware fetches by itself.
inline bool is_wide_core() noexcept { return cache_sizes().l1_bytes > (32 << 10); }

struct Cores {
  int logical, physical;  // in the affinity mask
  double quota;           // CPUs that the cgroup allows; 0: no limit
};

/// As of now.
Cores cores() noexcept;

/// Physical cores in the affinity mask, at most the cgroup's CPU quota, at least 1.
int usable_cores() noexcept;

/// The model's name as the system gives it; "" where it is silent.
std::string cpu_name();

}  // namespace tilewright::detail
