// A loop over [0, count), split into one contiguous range for each thread.
//
// Threads are started for the call and joined before it returns, so that none exists when a process
// forks. Starting one costs tens of microseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace snvrag {

// Calls body(thread, begin, end) for each part; the first exception is rethrown here.
template <class Body>
void parallel_ranges(std::int64_t count, int num_threads, Body body) {
  const auto parts = static_cast<int>(
      std::min<std::int64_t>(std::max(1, num_threads), std::max<std::int64_t>(1, count)));
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(parts));
  auto run = [&](int part) noexcept {
    try {
      body(part, count * part / parts, count * (part + 1) / parts);
    } catch (...) {
      errors[static_cast<std::size_t>(part)] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(parts - 1));
  int started = 1;
  try {
    for (; started < parts; ++started) threads.emplace_back(run, started);
  } catch (const std::system_error&) {
    // The system allows no more threads: the remaining parts run below, in this one.
  }
  run(0);
  for (int part = started; part < parts; ++part) run(part);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace snvrag
