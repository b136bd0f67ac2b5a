// SPDX-License-Identifier: MIT
#include "kernels/core/cpu.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <string>

namespace tilewright::detail {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
File open_to_read(const char* path) { return {std::fopen(path, "re"), std::fclose}; }

/// The first line of a small file, or nothing.
std::string first_line(const std::string& path) {
  char buffer[256] = "";
  if (const File file = open_to_read(path.c_str()))
    if (std::fgets(buffer, sizeof buffer, file.get()) == nullptr) buffer[0] = 0;
  buffer[std::strcspn(buffer, "\n")] = 0;
  return buffer;
}

constexpr CacheSizes kCommonSizes{32 << 10, 1 << 20, 32 << 20};

CacheSizes read_cache_sizes() {
  CacheSizes sizes = kCommonSizes;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string size = first_line(folder + "size");
    if (size.empty()) break;
    long value = 0;
    char unit = 0;
    if (std::sscanf(size.c_str(), "%ld%c", &value, &unit) < 1 || value <= 0) continue;
    const Index bytes = value * (unit == 'M' ? 1 << 20 : unit == 'K' ? 1 << 10 : 1);
    const std::string level = first_line(folder + "level");
    const bool data = first_line(folder + "type") != "Instruction";
    if (level == "1" && data) sizes.l1_bytes = bytes;
    if (level == "2") sizes.l2_bytes = bytes;
    if (level == "3") sizes.l3_bytes = bytes;
  }
  return sizes;
}

Cores affinity_cores() {
  // Fixed-size masks end at 1024 CPUs; a larger machine simply answers with an error.
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return {1, 1, 0};
  std::set<std::string> cores;
  int count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    ++count;
    // Threads of one core name the same siblings.
    const std::string siblings =
        first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  return {std::max(1, count), std::max(1, std::min(count, static_cast<int>(cores.size()))), 0};
}

/// The path of this process in the cgroup hierarchy that `controller` names ("" for version 2).
std::string cgroup_path(const std::string& controller) {
  std::string path;
  if (const File file = open_to_read("/proc/self/cgroup")) {
    char line[1024];
    while (std::fgets(line, sizeof line, file.get()) != nullptr) {
      line[std::strcspn(line, "\n")] = 0;
      const char* names = std::strchr(line, ':');
      const char* place = names == nullptr ? nullptr : std::strchr(names + 1, ':');
      if (place == nullptr) continue;
      const std::string list = "," + std::string(names + 1, place) + ",";
      if (controller.empty() ? list == ",," : list.find("," + controller + ",") != std::string::npos) path = place + 1;
    }
  }
  return path;
}

/// CPUs that the quota allows; 0 when there is none. Every level up to the root counts.
double quota_cores() {
  double cores = 0;
  const auto limit = [&](double quota, double period) {
    if (quota > 0 && period > 0) cores = cores == 0 ? quota / period : std::min(cores, quota / period);
  };
  const auto walk = [](std::string path, auto&& visit) {
    for (;;) {
      visit(path == "/" ? std::string() : path);
      const auto slash = path.rfind('/');
      if (slash == std::string::npos || path.size() <= 1) return;
      path.resize(slash);
    }
  };
  walk(cgroup_path(""), [&](const std::string& path) {
    double quota = 0, period = 0;
    if (std::sscanf(first_line("/sys/fs/cgroup" + path + "/cpu.max").c_str(), "%lf %lf", &quota, &period) == 2)
      limit(quota, period);
  });
  walk(cgroup_path("cpu"), [&](const std::string& path) {
    const std::string folder = "/sys/fs/cgroup/cpu" + path;
    const double quota = std::atof(first_line(folder + "/cpu.cfs_quota_us").c_str());
    limit(quota, std::atof(first_line(folder + "/cpu.cfs_period_us").c_str()));
  });
  return cores;
}

}  // namespace

const CacheSizes& cache_sizes() noexcept {
  static const CacheSizes sizes = [] {
    const KeepErrno keep;
    try {
      return read_cache_sizes();
    } catch (const std::bad_alloc&) {
      return kCommonSizes;
    }
  }();
  return sizes;
}

Cores cores() noexcept {
  const KeepErrno keep;
  try {
    Cores all = affinity_cores();
    all.quota = quota_cores();
    return all;
  } catch (const std::bad_alloc&) {  // no memory to look closer
    cpu_set_t mask;
    CPU_ZERO(&mask);
    const int count = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
    return {count, count, 0};
  }
}

int usable_cores() noexcept {
  const Cores all = cores();
  return all.quota == 0 ? all.physical : std::min(all.physical, static_cast<int>(std::ceil(all.quota)));
}

std::string cpu_name() {
  const KeepErrno keep;
  std::string name;
  if (const File file = open_to_read("/proc/cpuinfo")) {
    char line[512];
    while (name.empty() && std::fgets(line, sizeof line, file.get()) != nullptr) {
      const char* colon = std::strchr(line, ':');
      if (colon == nullptr || std::strncmp(line, "model name", 10) != 0) continue;
      name = colon + 1;
      name.erase(0, name.find_first_not_of(" \t"));
      name.erase(name.find_last_not_of(" \n") + 1);
    }
  }
  return name;
}

}  // namespace tilewright::detail
