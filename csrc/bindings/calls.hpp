// What calls of searches and of the copying model share: threads, Ctrl-C, and haplotypes left out.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "arguments.hpp"

namespace snvrag::bindings {

// Runs `work(flag)` without the GIL. Long work goes to another thread while this one looks for
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
  if (!threads.is_none()) {
    const std::int64_t number = whole_number(threads, "threads");
    check_count(number, 1, 4096, "threads");
    return static_cast<int>(number);
  }
  // Below a few million word operations a thread costs more than it saves.
  const double useful = operations / 4e6;
  const unsigned machine = std::max(1u, std::thread::hardware_concurrency());
  return static_cast<int>(std::clamp(useful, 1.0, static_cast<double>(machine)));
}

struct Exclude {
  std::vector<std::int64_t> values;
  const std::int64_t* data = nullptr;
  std::int64_t num_columns = 0;
  std::int64_t most = 0;  // distinct candidates that one query leaves out
};

// What is checked is a copy: no other thread, and no output that shares memory with it, changes it
// afterwards.
inline Exclude check_exclude(const py::object& object, std::int64_t num_queries,
                             std::int64_t num_candidates) {
  Exclude exclude;
  if (!object.is_none()) {
    const std::string expected =
        "an int64 (" + std::to_string(num_queries) + ", E) array with contiguous rows";
    const Rows<std::int64_t> given = rows<std::int64_t>(object, "exclude", expected);
    if (given.num_rows != num_queries) {
      value_error("exclude", expected, "shape " + shape_text(given.array));
    }
    if (given.num_rows > 1 && given.stride != given.num_columns) {
      type_error("exclude", expected, "rows that are not adjacent");
    }
    exclude.values.assign(given.data, given.data + num_queries * given.num_columns);
    exclude.data = exclude.values.data();
    exclude.num_columns = given.num_columns;
    std::vector<std::int64_t> seen;
    for (std::int64_t q = 0; q < num_queries; ++q) {
      seen.clear();
      for (std::int64_t i = 0; i < given.num_columns; ++i) {
        const std::int64_t index = exclude.data[q * given.num_columns + i];
        if (index < -1 || index >= num_candidates) {
          value_error("exclude", "-1 or an index below " + std::to_string(num_candidates),
                      std::to_string(index) + " for query " + std::to_string(q));
        }
        if (index >= 0) seen.push_back(index);
      }
      std::sort(seen.begin(), seen.end());
      const auto distinct = std::unique(seen.begin(), seen.end()) - seen.begin();
      exclude.most = std::max<std::int64_t>(exclude.most, distinct);
    }
  }
  return exclude;
}

// The same, and that k neighbours are left for every query.
inline Exclude check_exclude(const py::object& object, std::int64_t num_queries,
                             std::int64_t num_candidates, std::int64_t k) {
  if (k < 1) value_error("k", "at least 1", std::to_string(k));
  Exclude exclude = check_exclude(object, num_queries, num_candidates);
  if (k > num_candidates - exclude.most) {
    value_error("k",
                "at most " + std::to_string(num_candidates - exclude.most) + " (" +
                    std::to_string(num_candidates) + " less " + std::to_string(exclude.most) +
                    " excluded)",
                std::to_string(k));
  }
  return exclude;
}

}  // namespace snvrag::bindings
