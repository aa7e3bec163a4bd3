// Long calls: without the GIL, on several threads, and ended by Ctrl-C.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "checks.hpp"

namespace snvrag::bindings {

// Runs `work(flag)` without the GIL. Long work runs on another thread while this one checks for
// signals, so that Ctrl-C ends it.
template <class Work>
auto run_without_gil(bool is_long, Work work) {
  if (!is_long) {
    py::gil_scoped_release release;
    return work(nullptr);
  }
  std::atomic<bool> cancel{false};
  py::gil_scoped_release release;
  auto result = std::async(std::launch::async, [&] { return work(&cancel); });
  while (result.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
    py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) {
      cancel.store(true);
      {
        py::gil_scoped_release again;
        result.wait();
      }
      throw py::error_already_set();
    }
  }
  return result.get();
}

inline int choose_threads(const py::object& threads, double operations) {
  if (!threads.is_none()) return static_cast<int>(count(threads, 1, 4096, "threads"));
  // With fewer than a few million word operations, a thread costs more than it saves.
  const double useful = operations / 4e6;
  if (useful < 2) return 1;  // asking for the number of cores reads a file
  const unsigned machine = std::max(1u, std::thread::hardware_concurrency());
  return static_cast<int>(std::clamp(useful, 1.0, static_cast<double>(machine)));
}

}  // namespace snvrag::bindings
