// SPDX-License-Identifier: MIT
// Chooses the kernel table. CPU features come from __builtin_cpu_supports, which asks the CPU and the operating system
// for the features themselves, never for a vendor, family or model.
#include <cstdlib>

#include "kernels/core/table.hpp"
#include "tilewright/error.hpp"

namespace tilewright {
namespace detail {
namespace {

constexpr std::string_view kNames[] = {"sse2", "avx2", "avx512", "neon"};

struct Tables {
  const KernelTable* table[4] = {};
  Isa isa[4] = {};
  std::size_t count = 0;
  void add(const KernelTable& t) {
    table[count] = &t;
    isa[count++] = t.isa;
  }
};

/// Built in and runnable here, slowest first.
Tables find_tables() noexcept {
  Tables tables;
#if defined(TILEWRIGHT_HAVE_SSE2)
  tables.add(kTableSse2);
#endif
#if defined(TILEWRIGHT_HAVE_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.add(kTableAvx2);
#endif
#if defined(TILEWRIGHT_HAVE_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
    tables.add(kTableAvx512);
#endif
#if defined(TILEWRIGHT_HAVE_NEON)
  tables.add(kTableNeon);
#endif
  return tables;
}

const Tables& tables() noexcept {
  static const Tables found = find_tables();
  return found;
}

enum class Source { automatic, environment, capped, call };
std::atomic<Source> source{Source::automatic};

}  // namespace

std::atomic<const KernelTable*> chosen_table{nullptr};

const KernelTable& choose_table() {
  const Tables& t = tables();
  const KernelTable* best = t.table[t.count - 1];
  const char* wish = std::getenv("TILEWRIGHT_ISA");
  Source why = Source::automatic;
  if (wish != nullptr && *wish != 0) {
    const auto isa = isa_from_string(wish);
    if (!isa)
      throw ValueError("TILEWRIGHT_ISA: unknown \"" + std::string(wish) + "\", expected sse2, avx2, avx512 or neon");
    why = Source::capped;
    for (std::size_t i = 0; i < t.count; ++i)
      if (t.isa[i] <= *isa) best = t.table[i];
    if (best->isa == *isa) why = Source::environment;
  }
  // Two threads may both come here; they store the same, unless a set_isa came between, which then stays.
  const KernelTable* nobody = nullptr;
  if (chosen_table.compare_exchange_strong(nobody, best)) source = why;
  return *chosen_table.load();
}

}  // namespace detail

std::string_view to_string(Isa isa) noexcept { return detail::kNames[static_cast<int>(isa)]; }

std::optional<Isa> isa_from_string(std::string_view name) noexcept {
  for (int i = 0; i < 4; ++i)
    if (detail::kNames[i] == name) return static_cast<Isa>(i);
  return std::nullopt;
}

std::span<const Isa> available_isas() noexcept { return {detail::tables().isa, detail::tables().count}; }

Isa active_isa() { return detail::active_table().isa; }

std::string isa_reason() {
  (void)detail::active_table();
  const char* wish = std::getenv("TILEWRIGHT_ISA");
  switch (detail::source.load()) {
    case detail::Source::environment:
      return "TILEWRIGHT_ISA=" + std::string(wish == nullptr ? "" : wish);
    case detail::Source::capped:
      return "TILEWRIGHT_ISA=" + std::string(wish == nullptr ? "" : wish) + " is not available here";
    case detail::Source::call:
      return "set_isa";
    default:
      return "best of this CPU";
  }
}

void set_isa(Isa isa) {
  const auto& t = detail::tables();
  for (std::size_t i = 0; i < t.count; ++i)
    if (t.isa[i] == isa) {
      detail::chosen_table.store(t.table[i], std::memory_order_release);
      detail::source = detail::Source::call;
      return;
    }
  throw ValueError("set_isa: " + std::string(to_string(isa)) + " is not available here");
}

}  // namespace tilewright
