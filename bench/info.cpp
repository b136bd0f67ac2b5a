// SPDX-License-Identifier: MIT
// tilewright-info: the machine as the library sees it, what it has chosen and why, and the roofs.
#include <cstdio>
#include <exception>
#include <string>

#include "tilewright/tilewright.hpp"

namespace {

using namespace tilewright;

void print_roofs(const Roofs& r) {
  std::printf("  %-7s %d thread%s  %8.1f f32 %8.1f f64 GFLOP/s   read", std::string(to_string(r.isa)).c_str(),
              r.threads, r.threads == 1 ? " " : "s", r.flops_f32 * 1e-9, r.flops_f64 * 1e-9);
  for (const double level : r.read) std::printf(" %7.1f", level * 1e-9);
  std::printf("   copy");
  for (const double level : r.copy) std::printf(" %7.1f", level * 1e-9);
  std::printf("   divide");
  for (const double rate : r.divisions) std::printf(" %5.1f", rate * 1e-9);
  std::printf("\n");
}

void print() {
  const Machine m = machine();
  std::printf("tilewright   %s\n", TILEWRIGHT_VERSION);
  std::printf("cpu          %s\n", m.cpu.empty() ? "(the system does not say)" : m.cpu.c_str());
  std::printf("caches       L1 %lld KiB and L2 %lld KiB a core, L3 %lld KiB\n",
              static_cast<long long>(m.l1_bytes >> 10), static_cast<long long>(m.l2_bytes >> 10),
              static_cast<long long>(m.l3_bytes >> 10));
  std::printf("cores        %d physical, %d logical in the affinity mask; CPU quota ", m.physical_cores,
              m.logical_cpus);
  std::printf(m.quota > 0 ? "%.2f\n" : "none\n", m.quota);
  std::printf("threads      %d: %s\n", m.threads, m.threads_reason.c_str());
  std::printf("executor     %s\n", &executor() == &thread_pool()       ? "pool"
                                   : &executor() == &openmp_executor() ? "openmp"
                                                                       : "serial");
  std::printf("isa          %s: %s; available:", std::string(to_string(active_isa())).c_str(), isa_reason().c_str());
  for (const Isa isa : available_isas()) std::printf(" %s", std::string(to_string(isa)).c_str());
  std::printf(
      "\nroofs        multiply-adds on registers; GB/s from L1, L2, L3 and memory; 10^9 divisions/s "
      "with 0, 1 and 2 square roots\n");
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    print_roofs(measure_roofs(1, 0.3));
    if (m.threads > 1) print_roofs(measure_roofs(m.threads, 0.3));
  }
}

}  // namespace

int main() try {
  print();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
