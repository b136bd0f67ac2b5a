// SPDX-License-Identifier: MIT
// A host whose compiler brings another OpenMP runtime than the library was built with: both run in turn, and one inside
// the other.
#include <cstdio>

#include "tilewright/tilewright.hpp"

using namespace tilewright;

int main() {
  const Index n = 192;
  Matrix<float> ones(n, n);
  for (float& v : ones.span()) v = 1;
  int wrong = 0;
  const auto check = [&](const Matrix<float>& c) {
    for (const float v : c.span()) wrong += v != static_cast<float>(n);
  };
  for (int round = 0; round < 200; ++round) {
    int sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(3)
    for (int i = 0; i < 1000; ++i) sum += i;
    wrong += sum != 499500;
    Matrix<float> c(n, n);
    gemm(ones, ones, c, {.num_threads = 3});
    check(c);
#pragma omp parallel num_threads(3) reduction(+ : wrong)
    {
      Matrix<float> mine(n, n);
      gemm(ones, ones, mine, {.num_threads = 3});
      for (const float v : mine.span()) wrong += v != static_cast<float>(n);
    }
  }
  std::printf("two OpenMP runtimes: %d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}
