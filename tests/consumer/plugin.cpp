// SPDX-License-Identifier: MIT
// Loads the library, calls it on two threads and closes it, again and again: plugin LIBRARY TIMES. The calls come from
// a thread that ends before. Memory and threads must not pile up.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "tilewright/c.h"

namespace {

long kilobytes() {
  long all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * 4;
}

long threads() {
  long count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

bool use(void* library, std::vector<float>& memory) {
  const auto gemm = reinterpret_cast<decltype(&tilewright_gemm_f32)>(dlsym(library, "tilewright_gemm_f32"));
  if (gemm == nullptr) return false;
  constexpr std::int64_t n = 96;
  float* c = memory.data() + n * n;
  const tilewright_input_f32 a{memory.data(), n, n, n, 1};
  bool right = false;
  std::thread([&] {
    right = gemm(1, a, a, 0, {c, n, n, n, 1}, nullptr, TILEWRIGHT_IDENTITY, 2) == TILEWRIGHT_OK && c[0] == n;
    c[0] = 0;
  }).join();
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int times = std::atoi(argv[2]);
  std::vector<float> memory(2 * 96 * 96, 1.0F);
  long before = 0, threads_before = 0;
  for (int i = 0; i < times; ++i) {
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return std::printf("%s\n", dlerror()), 1;
    if (!use(library, memory)) return std::puts("wrong result"), 1;
    dlclose(library);
    if (i == times / 2) before = kilobytes(), threads_before = threads();
  }
  std::printf("plugin: loaded %d times, %ld KiB and %ld threads more in the second half\n", times, kilobytes() - before,
              threads() - threads_before);
  return kilobytes() - before < 1024 && threads() <= threads_before ? 0 : 1;
}
