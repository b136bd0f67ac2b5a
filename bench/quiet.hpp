// SPDX-License-Identifier: MIT
// Whether the cores are ours alone at the moment. On a virtual machine kernels ran at two thirds of their speed for
// seconds, presumably because others used the second thread of the core: /proc did not say so, and a loop of
// multiply-adds alone, and so the roof, kept its speed. A fixed piece of work tells: it issues all that a core can, in
// registers and the first-level cache.
#pragma once

namespace tilewright::bench {

class Quiet {
 public:
  /// A probe is quiet that takes at most so much longer than the shortest ever, which repeats to a thousandth from
  /// process to process. With 5 % instead of 2, two of 20 unchanged programs were called slower, not one of 40.
  static constexpr double kTolerance = 1.02;

  /// Seconds of the fixed work now, on so many cores at a time: the longest.
  double probe(int threads);
  /// What it takes on quiet cores, as another run found.
  void expect(double seconds) { best_ = seconds < best_ ? seconds : best_; }
  /// How long this program may wait in all, beside a little for every measurement.
  void be_patient(double seconds) { patience_ = seconds; }
  bool is_quiet(double probe) const { return probe <= kTolerance * best_; }

  /// measure() while the cores are quiet: waits for that, and measures again when they were not at the end, as long as
  /// there is patience, of which every call brings some. `seen` becomes the longer one of the probes around it.
  template <class Measure>
  double measured(const Measure& measure, int threads, double& seen) {
    patience_ += kPatience;
    for (;;) {
      const double before = wait(threads);
      const double start = now(), seconds = measure(), end = now(), after = probe(threads);
      seen = before > after ? before : after;
      if (is_quiet(seen) || patience_ <= 0) {
        ++measurements_;
        busy_ += !is_quiet(seen);
        return seconds;
      }
      patience_ -= end - start;
    }
  }

  /// Share of the measurements that were taken on busy cores, because patience was at its end.
  double busy_share() const { return measurements_ > 0 ? busy_ / measurements_ : 0; }

 private:
  static constexpr double kPatience = 0.005;  // with 15 ms a quick report took more than five minutes

  /// The first quiet probe, or the last one when patience ends.
  double wait(int threads);
  static double now();

  double best_ = 1e300;
  double patience_ = 20;  // seconds: ten times what a handful of cases takes, and within a quick report's four minutes
  double measurements_ = 0, busy_ = 0;
};

/// The program's.
Quiet& quiet();

}  // namespace tilewright::bench
