#include "snvrag/states.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "queries.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

// An array of the values, which are moved, not copied.
template <class T>
py::array_t<T> as_numpy(std::vector<T>&& values, std::vector<py::ssize_t> shape) {
  auto kept = std::make_unique<std::vector<T>>(std::move(values));
  const T* data = kept->data();
  const py::capsule owner(kept.release(),
                          [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
  return py::array_t<T>(std::move(shape), data, owner);
}

py::tuple states(const py::object& queries_object, const py::object& sites_object,
                 const py::object& haplotypes_object, const py::object& observed_object,
                 const py::object& position_object, const py::object& neighbours,
                 const py::object& step, double within_cm, const py::object& exclude_object,
                 const py::object& missing_object, const py::object& unphased_object,
                 const py::object& group_size, const py::object& threads) {
  StatesPanel panel;
  panel.num_haplotypes = count(haplotypes_object, 1, kMaxInt32, "num_haplotypes");
  const auto site_bits = bit_rows(sites_object, "site_bits");
  check_words(site_bits.num_columns, panel.num_haplotypes, "site_bits", "haplotypes");
  check_count(site_bits.num_rows, 0, kMaxSites, "rows of site_bits");
  panel.site_bits = site_bits.data;
  panel.row_stride = site_bits.stride;
  panel.num_sites = site_bits.num_rows;
  const py::array observed = vector<bool>(observed_object, "observed", panel.num_sites);
  const py::array position = vector<double>(position_object, "position_cm", panel.num_sites);
  const auto* seen = values<std::uint8_t>(observed);
  const std::vector<std::uint8_t> copied(seen, seen + panel.num_sites);  // sizes follow from it
  panel.observed = copied.data();
  panel.position_cm = values<double>(position);

  QueryArguments arguments;
  arguments.read(queries_object, panel.num_sites, exclude_object, missing_object);
  StatesQueries queries{arguments.queries};
  Rows<std::uint64_t> unphased;  // keeps the memory alive
  if (!unphased_object.is_none()) {
    if (queries.num_queries % 2 != 0) {
      value_error("queries", "of an even number of rows with unphased",
                  std::to_string(queries.num_queries));
    }
    unphased = adjacent_bit_rows(unphased_object, "unphased");
    check_words(unphased.num_columns, panel.num_sites, "unphased");
    if (unphased.num_rows != queries.num_queries / 2) {
      value_error("unphased", "of half as many rows as queries", std::to_string(unphased.num_rows));
    }
    queries.unphased = unphased.data;
  }
  queries.group_size = count(group_size, 1, kMaxInt32, "group_size");
  if (queries.num_queries % queries.group_size != 0) {
    value_error("group_size",
                "a divisor of the " + std::to_string(queries.num_queries) + " queries",
                std::to_string(queries.group_size));
  }

  StatesOptions options;
  options.neighbours = count(neighbours, 1, kMaxInt32, "neighbours");
  options.step = count(step, 1, kMaxInt32, "step");
  options.within_cm = within_cm;
  const auto* given = panel.observed;
  const auto num_observed =
      static_cast<double>(panel.num_sites - std::count(given, given + panel.num_sites, 0));
  const double operations =
      num_observed * (4 * static_cast<double>(panel.num_haplotypes) +
                      20 * static_cast<double>(queries.num_queries * options.neighbours) /
                          static_cast<double>(options.step));
  const int num_threads = choose_threads(threads, operations);
  States result;
  run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return retrieve_states(queries, panel, options, num_threads, result, cancel);
  });
  const auto num_blocks = static_cast<py::ssize_t>(result.block_starts.size());
  const auto num_states = static_cast<py::ssize_t>(result.haplotypes.size());
  return py::make_tuple(as_numpy(std::move(result.block_starts), {num_blocks}),
                        as_numpy(std::move(result.offsets),
                                 {queries.num_queries / queries.group_size, num_blocks + 1}),
                        as_numpy(std::move(result.haplotypes), {num_states}));
}

}  // namespace

void bind_states(py::module_& module) {
  module.def("retrieve_states", &states, py::arg("queries"), py::arg("site_bits"),
             py::arg("num_haplotypes"), py::arg("observed"), py::arg("position_cm"),
             py::arg("neighbours"), py::arg("step"), py::arg("within_cm"),
             py::arg("exclude").none(true), py::arg("missing").none(true),
             py::arg("unphased").none(true), py::arg("group_size"), py::arg("threads").none(true));
}

}  // namespace snvrag::bindings
