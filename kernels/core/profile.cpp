// SPDX-License-Identifier: MIT
// The profiler's records. Each thread writes to a log of its own, under a lock of its own that only readers contend
// for.
#include "kernels/core/profile.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <set>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/profile_records.hpp"
#include "tilewright/profile.hpp"
#include "tilewright/threads.hpp"

// Tasks for Intel VTune and other listeners, where the build found ittnotify.h: each operation is a task of its name.
#if defined(TILEWRIGHT_HAVE_ITT)
#include <ittnotify.h>
#endif

namespace tilewright {
namespace detail {
namespace {

#if defined(TILEWRIGHT_HAVE_ITT)
__itt_domain* itt_domain() noexcept {
  static __itt_domain* const domain = __itt_domain_create("tilewright");
  return domain;
}
bool itt_listens() noexcept { return itt_domain() != nullptr && itt_domain()->flags != 0; }
void itt_begin(const char* name) noexcept {
  __itt_task_begin(itt_domain(), __itt_null, __itt_null, __itt_string_handle_create(name));
}
void itt_end() noexcept { __itt_task_end(itt_domain()); }
#else
bool itt_listens() noexcept { return false; }
void itt_begin(const char*) noexcept {}
void itt_end() noexcept {}
#endif

}  // namespace

constinit std::atomic<int> profile_state{kProfileUnknown};

namespace {

constexpr std::size_t kMostEvents = std::size_t{1} << 20;

std::int64_t now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

ProfileLog& own_log() {
  // The log outlives its thread: it is read later.
  thread_local const std::shared_ptr<ProfileLog> own = [] {
    auto log = std::make_shared<ProfileLog>();
    ProfileRecords& all = profile_records();
    const std::lock_guard lock(all.mutex);
    log->number = static_cast<int>(all.logs.size());
    all.logs.push_back(log);
    return log;
  }();
  return *own;
}

/// A name that lives as long as the process: reports come after static objects have been destroyed.
const char* keep(std::string_view name) {
  static std::mutex mutex;
  static auto& names = *new std::set<std::string, std::less<>>;
  const std::lock_guard lock(mutex);
  const auto at = names.find(name);
  return (at != names.end() ? at : names.emplace(name).first)->c_str();
}

void push_event(ProfileLog& log, const ProfileEvent& event) {
  if (log.events.size() < kMostEvents)
    log.events.push_back(event);
  else
    ++log.dropped;
}

/// One line per call, the first with the names of its fields.
void print_call(const CallInfo& info, int threads, double seconds, double roof_seconds) noexcept {
  static std::atomic<bool> began{false};
  if (!began.exchange(true))
    std::fputs("tilewright_verbose,version,event,operation,isa,shape,threads,ms,GFLOP/s,GB/s,roof\n", stderr);
  char shape[64];
  write_shape(info, shape, sizeof shape);
  std::fprintf(stderr, "tilewright_verbose,v1,exec,%s%s%s%s,%s,%s,thr%d,%.6f,%.4g,%.4g,%.0f%%\n", info.operation,
               *info.variant == 0 ? "" : " ", info.variant, suffix_of(info), to_string(active_isa()).data(), shape,
               threads, seconds * 1e3, info.flops / seconds * 1e-9,
               (info.bytes_read + info.bytes_written) / seconds * 1e-9, 100 * roof_seconds / seconds);
}

void open(ProfileLog& log, const CallInfo& info) {
  const std::lock_guard lock(log.mutex);
  log.open.push_back({info, 0, 0, 1, 0, 0});
  if ((profile_state.load(std::memory_order_relaxed) & kProfileItt) != 0) itt_begin(info.operation);
  log.open.back().start = now();  // what came before is the profiler's
}

}  // namespace

ProfileRecords& profile_records() noexcept {
  // Never destroyed: threads may end after static objects have. No memory is asked for.
  alignas(ProfileRecords) static std::byte place[sizeof(ProfileRecords)];
  static ProfileRecords* const records = new (place) ProfileRecords;
  return *records;
}

double roof_seconds_of(const CallInfo& info, int threads) noexcept {
  ProfileRecords& all = profile_records();
  const std::lock_guard lock(all.roofs_mutex);
  const Roofs& roofs = threads > 1 ? all.many : all.one;
  return roofs.flops_f32 == 0 ? 0 : roofs.seconds(info.flops, info.bytes_read, info.bytes_written, info.element_bytes);
}

void Record::begin(const CallInfo& info) {
  if (!profile::is_on()) return;
  ProfileLog& log = own_log();
  open(log, info);
  log_ = &log;
}

void end_call(ProfileLog& log) noexcept {
  const std::int64_t end = now();
  const int state = profile_state.load(std::memory_order_relaxed);
  const std::lock_guard lock(log.mutex);
  const OpenCall call = log.open.back();
  log.open.pop_back();
  const std::int64_t total = end - call.start;
  if (!log.open.empty()) log.open.back().inside += total;
  if (state <= kProfileUnknown) return;
  if ((state & kProfileItt) != 0) itt_end();
  try {
    ProfileTotals& t = log.totals[{call.info, call.parts}];
    ++t.calls;
    t.nanoseconds += total - call.inside;
    t.team_nanoseconds += call.team;
    t.busy_nanoseconds += call.busy;
    if ((state & kProfileTrace) != 0)
      push_event(
          log, {call.info, call.start, end, call.parts, call.info.shape[0] < 0 ? EventKind::region : EventKind::call});
  } catch (const std::bad_alloc&) {
    ++log.dropped;
  }
  if ((state & kProfileLog) != 0 && call.info.shape[0] >= 0)
    print_call(call.info, call.parts, static_cast<double>(total) * 1e-9, roof_seconds_of(call.info, call.parts));
}

void run_watched(int parts, void (*part)(void*, int), void* context) noexcept {
  ProfileLog* caller = nullptr;
  CallInfo info{"parts"};
  try {
    caller = &own_log();
    const std::lock_guard lock(caller->mutex);
    if (!caller->open.empty()) info = caller->open.back().info;
  } catch (const std::bad_alloc&) {
    return executor().run(parts, part, context);
  }
  struct Watched {
    void (*part)(void*, int);
    void* context;
    const CallInfo* info;
    std::atomic<std::int64_t> busy{0};
  } watched{part, context, &info};
  const std::int64_t start = now();
  executor().run(
      parts,
      [](void* at, int index) {
        auto& w = *static_cast<Watched*>(at);
        const std::int64_t from = now();
        w.part(w.context, index);
        const std::int64_t to = now();
        w.busy.fetch_add(to - from, std::memory_order_relaxed);
        if ((profile_state.load(std::memory_order_relaxed) & kProfileTrace) == 0) return;
        try {
          ProfileLog& log = own_log();
          const std::lock_guard lock(log.mutex);
          push_event(log, {*w.info, from, to, index, EventKind::part});
        } catch (const std::bad_alloc&) {
        }
      },
      &watched);
  static const int cores = usable_cores();
  const std::lock_guard lock(caller->mutex);
  if (caller->open.empty()) return;
  OpenCall& call = caller->open.back();
  call.parts = std::max(call.parts, parts);
  call.team += (now() - start) * std::min(parts, cores);
  call.busy += watched.busy.load(std::memory_order_relaxed);
}

}  // namespace detail

namespace profile {

using namespace detail;

void start(Options options) {
  (void)active_isa();  // its error first
  ProfileRecords& all = profile_records();
  profile_state.store(kProfileOff);  // measuring is not recorded
  const int threads = num_threads();
  {
    const std::lock_guard lock(all.roofs_mutex);
    if (all.one.flops_f32 == 0 || all.one.isa != active_isa()) all.one = measure_roofs(1);
    if (all.many.threads != threads || all.many.isa != active_isa())
      all.many = threads > 1 ? measure_roofs(threads) : all.one;
  }
  const std::lock_guard lock(all.mutex);
  for (const auto& log : all.logs) {
    const std::lock_guard its_lock(log->mutex);
    log->totals.clear();
    log->events.clear();
    log->dropped = 0;
  }
  all.started = now();
  all.stopped = 0;
  profile_state.store(kProfileTable | (options.trace ? kProfileTrace : 0) | (options.log ? kProfileLog : 0) |
                      (itt_listens() ? kProfileItt : 0));
}

void stop() {
  ProfileRecords& all = profile_records();
  const std::lock_guard lock(all.mutex);
  if (profile_state.exchange(kProfileOff) > kProfileUnknown) all.stopped = now();
}

bool is_on() {
  if (profile_state.load(std::memory_order_relaxed) == kProfileUnknown) start_from_environment();
  return profile_state.load(std::memory_order_relaxed) != kProfileOff;
}

double seconds() {
  ProfileRecords& all = profile_records();
  const std::lock_guard lock(all.mutex);
  if (all.started == 0) return 0;
  return static_cast<double>((all.stopped == 0 ? now() : all.stopped) - all.started) * 1e-9;
}

void Region::begin(std::string_view name) {
  CallInfo info{keep(name)};
  info.shape[0] = -1;  // a region
  ProfileLog& log = own_log();
  open(log, info);
  log_ = &log;
}

void Region::end() noexcept { end_call(*static_cast<ProfileLog*>(log_)); }

}  // namespace profile

namespace detail {
namespace {

/// What TILEWRIGHT_PROFILE asks for.
struct Wishes {
  bool summary = false;
  std::string table_file, trace_file;
};

/// Reports when the process ends.
struct AtExit {
  Wishes wishes;
  pid_t process = getpid();

  ~AtExit() {
    if (getpid() != process) return;  // a child of a fork
    profile::stop();
    try {
      if (wishes.summary) std::fputs(profile::summary().c_str(), stderr);
      if (!wishes.table_file.empty()) write_text("profile", wishes.table_file, profile::summary());
      if (!wishes.trace_file.empty()) profile::save_trace(wishes.trace_file);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
  }
};

}  // namespace

void start_from_environment() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (profile_state.load() != kProfileUnknown) return;
  Wishes found;
  const auto text_of = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  std::string all = text_of("TILEWRIGHT_PROFILE");
  const std::string verbose = text_of("TILEWRIGHT_VERBOSE");
  profile::Options options;
  options.log = !verbose.empty() && verbose != "0";
  const bool wanted = options.log || !all.empty() || itt_listens();
  while (!all.empty()) {
    const auto comma = all.find(',');
    const std::string wish = all.substr(0, comma);
    all.erase(0, comma == std::string::npos ? comma : comma + 1);
    if (wish == "summary")
      found.summary = true;
    else if (wish.ends_with(".json"))
      found.trace_file = wish;
    else if (wish.ends_with(".txt"))
      found.table_file = wish;
    else
      throw ValueError("TILEWRIGHT_PROFILE: \"" + wish + "\", expected summary, NAME.txt or NAME.json");
  }
  options.trace = !found.trace_file.empty();
  if (!wanted) return profile_state.store(kProfileOff);
  profile::start(options);
  static const AtExit at_exit{std::move(found)};
}

}  // namespace detail
}  // namespace tilewright
