// SPDX-License-Identifier: MIT
// Cases that are bound by memory: arrays, and races against a bare loop over the same streams.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/race.hpp"

namespace tilewright::bench {

using Arrays = std::vector<Matrix<float>>;

/// Arrays of n floats in [-4, 4), shared by the calls of a race.
inline std::shared_ptr<Arrays> arrays(std::size_t count, Index n) {
  auto all = std::make_shared<Arrays>();
  for (std::size_t i = 0; i < count; ++i) {
    all->emplace_back(1, n);
    fill_uniform(all->back().span(), {1, i}, -4, 4);
  }
  return all;
}

/// A case whose traffic is reads + writes arrays of n floats, for every thread count. in_place: what is written is
/// among what is read. operations: for each element, nominal: additions, multiplications, comparisons, divisions and
/// roots count as one, exponentials and logarithms as ten. roots: that go with the one division of each element; -1:
/// the roof is that of the streams alone.
inline void add_streaming(const std::string& suite, const std::string& name, Isa isa, int reads, int writes, Index n,
                          double operations, const Prepare& prepare, bool in_place = false, int roots = -1) {
  for (const int threads : thread_counts()) {
    Case c{suite, name, isa, threads};
    c.bytes_read = 4.0 * static_cast<double>(reads) * static_cast<double>(n);
    c.bytes_written = 4.0 * static_cast<double>(writes) * static_cast<double>(n);
    c.operations = operations * static_cast<double>(n);
    if (roots >= 0) {
      c.divisions = static_cast<double>(n);
      c.roots = roots;
    }
    add(c, [=] {
      Race race = prepare();
      race.roof_seconds = stream_roof(c, reads, writes, n, in_place);
      if (roots >= 0)
        race.roof_seconds = [streams = race.roof_seconds, divides = divide_roof(c)] {
          return std::max(streams(), divides());
        };
      return race;
    });
  }
}

}  // namespace tilewright::bench
