// The arguments of the Li-Stephens model over states, and what keeps their memory alive.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "checks.hpp"
#include "queries.hpp"
#include "snvrag/evidence.hpp"

namespace snvrag::bindings {

// The arguments that these functions share, and what keeps their memory alive.
class LocalProblem {
 public:
  LocalProblem(const py::object& queries_object, const py::object& haplotypes_object,
               const py::object& observed_object, const py::object& rho_object, float mismatch,
               const py::object& states_object, const py::object& exclude_object,
               const py::object& missing_object, std::int64_t rows_each = 1) {
    haplotypes_ = bit_rows(haplotypes_object, "haplotype_bits");
    check_count(haplotypes_.num_rows, 1, std::numeric_limits<std::int32_t>::max(),
                "rows of haplotype_bits");
    panel.haplotype_bits = haplotypes_.data;
    panel.row_stride = haplotypes_.stride;
    panel.num_haplotypes = haplotypes_.num_rows;
    rho_ = strided<double>(rho_object, "cumulative_rho", 1,
                           [] { return std::string("a contiguous float64 (S,) array"); });
    panel.num_sites = rho_.shape(0);
    check_count(panel.num_sites, 0, kMaxSites, "sites");
    rho_ = vector<double>(rho_object, "cumulative_rho", panel.num_sites);
    panel.cumulative_rho = values<double>(rho_);
    check_words(haplotypes_.num_columns, panel.num_sites, "haplotype_bits");
    const py::array observed = vector<bool>(observed_object, "observed", panel.num_sites);
    const auto* given = values<std::uint8_t>(observed);
    observed_.assign(given, given + panel.num_sites);  // a copy: sizes follow from it
    panel.observed = observed_.data();
    panel.mismatch = mismatch;
    num_observed = panel.num_sites - std::count(observed_.begin(), observed_.end(), 0);

    arguments_.read(queries_object, panel.num_sites, exclude_object, missing_object, rows_each);
    queries = arguments_.queries;
    if (states_object.is_none()) {
      take_all();
    } else {
      take_states(states_object);
    }
  }

  // About how many states are looked at.
  double operations() const {
    return static_cast<double>(states.haplotypes == nullptr ? 0 : copied_.size()) *
           (states.is_constant ? static_cast<double>(states.num_blocks) : 1.0);
  }

  // About how many pairs of states are looked at, over all observed sites.
  double pairs() const {
    double sum = 0;
    const std::int64_t row = states.is_constant ? 2 : states.num_blocks + 1;
    for (std::int64_t q = 0; q < queries.num_queries; ++q) {
      for (std::int64_t b = 0; b + 1 < row; ++b) {
        const std::int64_t* offset = states.offsets + q * row + b;
        const auto count = static_cast<double>(offset[1] - offset[0]);
        sum += count * count;
      }
    }
    return sum * static_cast<double>(num_observed) / static_cast<double>(row - 1);
  }

  HaplotypePanel panel;
  LiStephensQueries queries;
  StatesView states;
  std::int64_t num_observed = 0;

 private:
  // All haplotypes that are not excluded, in blocks of about the square root of the sites.
  void take_all() {
    const auto length =
        std::max<std::int64_t>(1, std::llround(std::sqrt(static_cast<double>(num_observed))));
    for (std::int64_t rank = 0; rank < std::max<std::int64_t>(1, num_observed); rank += length) {
      starts_.push_back(rank);
    }
    std::vector<char> is_out(static_cast<std::size_t>(panel.num_haplotypes), 0);
    offsets_.reserve(static_cast<std::size_t>(2 * queries.num_queries));
    for (std::int64_t q = 0; q < queries.num_queries; ++q) {
      offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
      mark(q, is_out, 1);
      for (std::int64_t h = 0; h < panel.num_haplotypes; ++h) {
        if (is_out[static_cast<std::size_t>(h)] == 0)
          copied_.push_back(static_cast<std::int32_t>(h));
      }
      mark(q, is_out, 0);
      offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
    }
    states.is_constant = true;
    point_at_copies();
  }

  void mark(std::int64_t query, std::vector<char>& is_out, char value) const {
    for (std::int64_t e = 0; e < queries.exclude.num_columns; ++e) {
      const std::int64_t h = queries.exclude.from(query).indices[e];
      if (h >= 0 && h < panel.num_haplotypes) is_out[static_cast<std::size_t>(h)] = value;
    }
  }

  // Copies and checks what retrieve_states has returned: it leads to addresses.
  void take_states(const py::object& object) {
    if (!py::isinstance<py::tuple>(object)) type_error("states", "States", type_name(object));
    const auto given = object.cast<py::tuple>();
    if (given.size() != 3) type_error("states", "States", "a tuple of another length");
    const auto text = [] { return std::string("States of these queries"); };
    const py::array starts = strided<std::int64_t>(given[0], "states", 1, text);
    const auto num_blocks = static_cast<std::int64_t>(starts.shape(0));
    const auto offsets = adjacent_rows<std::int64_t>(given[1], "states", text);
    const py::array haplotypes = strided<std::int32_t>(given[2], "states", 1, text);
    const py::array start_values = vector<std::int64_t>(given[0], "states", num_blocks);
    const py::array copied = vector<std::int32_t>(given[2], "states", haplotypes.shape(0));
    const auto* start = values<std::int64_t>(start_values);
    starts_.assign(start, start + num_blocks);
    offsets_.assign(offsets.data, offsets.data + offsets.num_rows * offsets.num_columns);
    copied_.assign(values<std::int32_t>(copied), values<std::int32_t>(copied) + copied.shape(0));
    bool valid = num_blocks >= 1 && offsets.num_rows == queries.num_queries &&
                 offsets.num_columns == num_blocks + 1 && starts_[0] == 0;
    for (std::size_t b = 1; valid && b < starts_.size(); ++b) {
      valid = starts_[b - 1] < starts_[b] && starts_[b] < num_observed;
    }
    if (!valid) value_error("states", text(), "others");
    const auto size = static_cast<std::int64_t>(copied_.size());
    for (std::int64_t q = 0; q < queries.num_queries; ++q) {
      const std::int64_t* row = offsets_.data() + q * (num_blocks + 1);
      for (std::int64_t b = 0; b < num_blocks; ++b) {
        if (row[b] < 0 || row[b + 1] <= row[b] || row[b + 1] > size) {
          value_error("states", "at least one in every block", "offsets that do not ascend");
        }
        std::int64_t last = -1;
        for (std::int64_t i = row[b]; i < row[b + 1]; ++i) {
          const std::int64_t h = copied_[static_cast<std::size_t>(i)];
          if (h <= last || h >= panel.num_haplotypes) {
            value_error("states", "haplotypes of the panel that ascend", std::to_string(h));
          }
          last = h;
        }
      }
    }
    point_at_copies();
  }

  void point_at_copies() {
    states.block_starts = starts_.data();
    states.num_blocks = static_cast<std::int64_t>(starts_.size());
    states.offsets = offsets_.data();
    states.haplotypes = copied_.data();
  }

  Rows<std::uint64_t> haplotypes_;
  QueryArguments arguments_;
  std::vector<std::uint8_t> observed_;
  py::array rho_;
  std::vector<std::int64_t> starts_, offsets_;
  std::vector<std::int32_t> copied_;
};

}  // namespace snvrag::bindings
