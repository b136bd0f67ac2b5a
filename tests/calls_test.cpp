// SPDX-License-Identifier: MIT
// Every operation of the catalogue: what it reads and writes, and what it says to mistakes.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <barrier>
#include <cfenv>
#include <cstdlib>
#include <map>
#include <thread>

#include "kernels/core/check.hpp"
#include "tests/calls.hpp"
#include "tests/support.hpp"

namespace tilewright::test {
namespace {

using Pages = std::vector<std::unique_ptr<FencedPages>>;

/// How many calls: TILEWRIGHT_CALLS, or a number for everyday.
std::uint64_t calls(std::uint64_t everyday) {
  const char* text = std::getenv("TILEWRIGHT_CALLS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : kEmulated ? everyday / 10 : everyday;
}

const CatalogueEntry& entry_of(std::uint64_t seed) { return catalogue()[seed % catalogue().size()]; }

std::string title(std::uint64_t seed, const Operands& operands) {
  std::string text = std::string(entry_of(seed).name) + ", seed " + std::to_string(seed) + ":";
  for (const Operand& o : operands.operands())
    text += " " + o.name + " " + std::to_string(o.rows) + "x" + std::to_string(o.cols) + " (" +
            std::to_string(o.row_stride) + ", " + std::to_string(o.col_stride) + ")";
  return text;
}

/// Somewhere in memory, in a floating-point state that a host may have chosen.
class OfAnyHost : public Operands {
 public:
  OfAnyHost(std::uint64_t seed, Pages& pages)
      : Operands(seed, Placement::scattered, pages), which_(seed / catalogue().size() % 8) {}

 private:
  double perform(const std::function<double()>& operation) override {
    std::fenv_t before;
    std::fegetenv(&before);
    constexpr int kModes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    std::fesetround(kModes[which_ % 4]);
#if defined(__x86_64__)
    constexpr unsigned kFlushes = 0x8040;  // results and operands
    if (which_ >= 4) __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | kFlushes);
#endif
    const double result = operation();
    std::fesetenv(&before);
    return result;
  }

  std::uint64_t which_;
};

TEST(Calls, TouchOnlyTheirOperandsAndDependOnNothingElse) {
  Pages pages;
  const std::uint64_t count = calls(20000);
  for (std::uint64_t seed = 0; seed < count; ++seed) {
    Operands plain(seed, Operands::Placement::tight, pages);
    entry_of(seed).make(plain);
    const std::uint64_t want = plain.hash();
    OfAnyHost scattered(seed, pages);
    scattered.set_threads(seed % 3 == 0 ? 3 : 1);
    entry_of(seed).make(scattered);
    ASSERT_EQ(scattered.damage(), "") << title(seed, scattered);
    ASSERT_EQ(scattered.hash(), want) << title(seed, scattered);
  }
}

/// A mistake that a call must notice, if its operand can have it.
bool matters(const Operand& o, const Operand& first, std::size_t which, Mistake mistake) {
  const bool empty = o.rows == 0 || o.cols == 0, written = o.role != Role::input;
  switch (mistake) {
    case Mistake::none:
      return false;
    case Mistake::null_data:
      return !empty && !o.want.optional;
    case Mistake::negative_rows:
    case Mistake::negative_cols:
      return !o.is_span;
    case Mistake::more_rows:
      return !o.is_span && !o.want.free_rows;
    case Mistake::more_cols:
      return !o.want.free_cols;
    case Mistake::endless_stride:
      return !o.is_span && o.cols > 0 && o.rows > 2;
    case Mistake::overlaps_itself:
      return !o.is_span && written && o.cols > 0 && o.rows > 1;
    case Mistake::overlaps_input:
      return which > 0 && (written || first.role != Role::input) && !empty && first.rows > 0 &&
             first.cols * static_cast<Index>(first.element_bytes) > static_cast<Index>(o.element_bytes);
  }
  return false;
}

/// For every operation and each of its operands, every mistake: an error that names the operation and the operand, and
/// nothing has changed.
TEST(Calls, NameEveryMistakeAndChangeNothing) {
  Pages pages;
  std::map<std::string, int> noticed;
  const std::uint64_t count =
      calls(static_cast<std::uint64_t>(kEmulated ? 2000 : 200) * catalogue().size()) / (kEmulated ? 10 : 1);
  for (std::uint64_t seed = 0; seed < count; ++seed) {
    Operands right(seed, Operands::Placement::tight, pages);
    entry_of(seed).make(right);
    const std::size_t which = seed / catalogue().size() % right.operands().size();
    const auto mistake = static_cast<Mistake>(seed / catalogue().size() / right.operands().size() % kMistakes);
    const Operand& operand = right.operands()[which];
    if (!matters(operand, right.operands()[0], which, mistake)) continue;
    Operands wrong(seed, Operands::Placement::tight, pages);
    wrong.mistake(which, mistake);
    std::string message = "no error";
    try {
      entry_of(seed).make(wrong);
    } catch (const Error& error) {
      message = error.what();
    }
    const std::string what = title(seed, wrong) + "; mistake " + std::to_string(static_cast<int>(mistake)) + " in " +
                             operand.name + ": " + message;
    const bool names = message.starts_with(std::string(entry_of(seed).name) + ": ") ||
                       (operand.name == "b" && message.starts_with("PackedMatrix: "));
    EXPECT_TRUE(names) << what;
    // What is too large may be said of the operand that it does not fit.
    const bool too_large = mistake == Mistake::more_rows || mistake == Mistake::more_cols;
    EXPECT_TRUE(too_large || message.find(operand.name) != std::string::npos) << what;
    EXPECT_EQ(wrong.damage(true), "") << what;
    ++noticed[entry_of(seed).name];
  }
  for (const CatalogueEntry& entry : catalogue()) EXPECT_GT(noticed[entry.name], 0) << entry.name;
}

TEST(Calls, RefuseImpossibleThreadCounts) {
  Pages pages;
  for (std::uint64_t seed = 0; seed < catalogue().size(); ++seed) {
    const std::string name = entry_of(seed).name;
    if (name.starts_with("fill_")) continue;  // have none
    for (const int threads : {-1, 1025}) {
      Operands operands(seed, Operands::Placement::tight, pages);
      operands.set_threads(threads);
      const std::string message = message_of<ValueError>([&] { entry_of(seed).make(operands); });
      EXPECT_EQ(message.substr(0, name.size()), name);
      EXPECT_NE(message.find("num_threads is " + std::to_string(threads) + ", expected 0..1024"), std::string::npos)
          << message;
      EXPECT_EQ(operands.damage(true), "") << name;
    }
  }
}

/// Each with operands of its own, in an order of its own, on any number of threads: the bits of one call alone.
TEST(Calls, AreTheSameFromManyThreadsAtATime) {
  constexpr int kThreads = kEmulated ? 8 : 64;
  const std::uint64_t each = calls(200), kinds = 8 * catalogue().size();
  std::vector<std::uint64_t> want(kinds);
  Pages pages;
  for (std::uint64_t seed = 0; seed < kinds; ++seed) {
    Operands alone(seed, Operands::Placement::tight, pages);
    entry_of(seed).make(alone);
    want[seed] = alone.hash();
  }
  std::atomic<int> wrong{0};
  // Bytes of the heap in use whenever all threads have met: in the middle and at the end.
  std::vector<std::size_t> in_use;
  in_use.reserve(2);
  std::barrier meeting(kThreads, [&]() noexcept {
    const struct mallinfo2 info = mallinfo2();
    in_use.push_back(info.uordblks + info.hblkhd);
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      Pages own;
      for (std::uint64_t i = 0; i < each; ++i) {
        const std::uint64_t seed = (static_cast<std::uint64_t>(t) * 7919 + i * 104729) % kinds;
        Operands operands(seed, Operands::Placement::tight, own);
        operands.set_threads(1 + static_cast<int>(i % 4));
        entry_of(seed).make(operands);
        if (operands.hash() != want[seed]) wrong.fetch_add(1);
        if (i == each / 2) meeting.arrive_and_wait();
      }
      meeting.arrive_and_wait();
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
  // Workspaces may have grown; in the long form (320,000 calls in between) 14 bytes a call would be seen.
  EXPECT_LT(in_use[1], in_use[0] + (4 << 20));
}

/// Against all pairs of elements.
TEST(Overlap, OfTwoViewsIsExact) {
  const RandomStream random{3, 1};
  std::uint64_t at = 0;
  const auto pick = [&](Index low, Index high) {
    return low + static_cast<Index>(random.below(at++, static_cast<std::uint64_t>(high - low + 1)));
  };
  std::vector<float> memory(4000);
  const auto view = [&] {
    MatrixView<const float> v(memory.data() + pick(1500, 1560), pick(0, 5), pick(0, 5), pick(-12, 12), pick(-12, 12));
    if (pick(0, 1) == 0) (pick(0, 1) == 0 ? v.row_stride : v.col_stride) = 1;
    return v;
  };
  int overlapping = 0;
  constexpr int kPairs = 200000;
  for (int i = 0; i < kPairs; ++i) {
    const auto a = view();
    auto b = view();
    if (pick(0, 1) == 0) b.row_stride = a.row_stride, b.col_stride = a.col_stride;
    bool want = false;
    for (Index r = 0; r < a.rows; ++r)
      for (Index c = 0; c < a.cols; ++c)
        for (Index s = 0; s < b.rows; ++s)
          for (Index d = 0; d < b.cols; ++d) want = want || &a(r, c) == &b(s, d);
    const bool got = detail::overlap({"a", a}, {"b", b});
    overlapping += want;
    ASSERT_FALSE(got && !want) << a.rows << "x" << a.cols << " " << a.row_stride << ", " << a.col_stride << " and "
                               << b.rows << "x" << b.cols << " " << b.row_stride << ", " << b.col_stride << " at "
                               << b.data - a.data;
    const auto has_neighbours = [](const auto& v) {
      return v.rows <= 1 || v.cols <= 1 || std::min(std::abs(v.row_stride), std::abs(v.col_stride)) <= 1;
    };
    const bool certain =
        (a.row_stride == b.row_stride && a.col_stride == b.col_stride) || (has_neighbours(a) && has_neighbours(b));
    ASSERT_FALSE(want && !got && certain)
        << a.rows << "x" << a.cols << " " << a.row_stride << ", " << a.col_stride << " and " << b.rows << "x" << b.cols
        << " " << b.row_stride << ", " << b.col_stride << " at " << b.data - a.data;
  }
  EXPECT_GT(overlapping, kPairs / 10);
  // Halves of a matrix of very many rows: found apart without a look at every row.
  const auto half = [&](Index at) { return MatrixView<const float>(memory.data() + at, Index{1} << 50, 8, 16); };
  EXPECT_FALSE(detail::overlap({"a", half(0)}, {"b", half(8)}));
  EXPECT_TRUE(detail::overlap({"a", half(0)}, {"b", half(7)}));
  EXPECT_FALSE(detail::overlap({"a", half(0).t()}, {"b", half(8).t()}));
  const std::vector<double> doubles(4);
  const auto* halves = reinterpret_cast<const float*>(doubles.data());
  EXPECT_TRUE(detail::overlap({"a", std::span(doubles)}, {"b", std::span<const float>(halves + 1, 1)}));
  EXPECT_FALSE(
      detail::overlap({"a", std::span<const double>(doubles.data(), 2)}, {"b", std::span<const float>(halves + 4, 4)}));
}

/// Neighbours are apart, and one common element is one too many.
TEST(Overlap, OfOneElementIsNoticed) {
  std::vector<float> memory(200), elsewhere(200);
  const auto view = [&](Index at, Index rows, Index cols) { return MatrixView<float>(memory.data() + at, rows, cols); };
  const MatrixView<const float> b(elsewhere.data(), 5, 3);
  struct Case {
    Index at;
    bool apart;
  };
  for (const Case& c : {Case{60, true}, {59, false}, {28, true}, {29, false}}) {
    const Index at = c.at;
    const std::string of_gemm = message_of<ShapeError>([&] { gemm(view(40, 4, 5), b, view(at, 4, 3)); });
    EXPECT_EQ(of_gemm, c.apart ? "no error" : "gemm: c overlaps a") << at;
    const std::string of_b = message_of<ShapeError>([&] {
      gemm(MatrixView<const float>(elsewhere.data(), 4, 2), view(40, 2, 10).block(0, 0, 2, 10), view(at, 4, 10));
    });
    EXPECT_EQ(of_b, at == 60 ? "no error" : "gemm: c overlaps b") << at;
  }
  for (const Case& c : {Case{60, true}, {59, false}, {20, true}, {21, false}, {40, true}}) {
    const Index at = c.at;
    const std::string message =
        message_of<ShapeError>([&] { activation_forward(ActivationKind::relu, view(40, 4, 5), view(at, 4, 5)); });
    EXPECT_EQ(message, c.apart ? "no error" : "activation_forward: y overlaps x") << at;
    std::vector<float>& m = memory;
    const auto span = [&](Index first) { return std::span(m).subspan(static_cast<std::size_t>(first), 20); };
    const std::string of_update = message_of<ShapeError>([&] { sgd_update(span(40), span(at), {}, {}); });
    EXPECT_EQ(of_update, c.apart && at != 40 ? "no error" : "sgd_update: parameters overlaps gradients") << at;
  }
}

}  // namespace
}  // namespace tilewright::test
