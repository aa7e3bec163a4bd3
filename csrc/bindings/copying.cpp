#include "snvrag/copying.hpp"

#include <pybind11/numpy.h>

#include <cmath>
#include <string>
#include <vector>

#include "calls.hpp"
#include "copying.hpp"

namespace snvrag::bindings {
namespace {

// A copy, so that no other thread changes what is checked.
std::vector<double> check_switches(const py::object& object, std::int64_t num_sites) {
  const py::array given =
      vector<double>(object, "switches", num_sites,
                     "a contiguous float64 (" + std::to_string(num_sites) + ",) array");
  const auto* data = static_cast<const double*>(given.data());
  std::vector<double> switches(data, data + num_sites);
  for (std::int64_t s = 0; s < num_sites; ++s) {
    const double value = switches[static_cast<std::size_t>(s)];
    const double before = s == 0 ? value : switches[static_cast<std::size_t>(s - 1)];
    if (!std::isfinite(value) || value < before) {
      value_error("switches", "finite and ascending",
                  std::to_string(value) + " at " + std::to_string(s));
    }
  }
  return switches;
}

py::array_t<float> dosage(const py::object& panel_object, const py::object& haplotypes_object,
                          const py::object& queries_object, const py::object& observed_object,
                          const py::object& switches_object, double error,
                          const py::object& exclude_object, const py::object& missing_object,
                          const py::object& threads) {
  const Rows<std::uint64_t> panel = rows<std::uint64_t>(panel_object, "site_bits", kBits);
  const std::int64_t num_haplotypes = whole_number(haplotypes_object, "num_haplotypes");
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  check_words(panel.num_columns, num_haplotypes, "site_bits", "haplotypes");
  const std::int64_t num_sites = panel.num_rows;
  check_count(num_sites, 0, kMaxSites, "the number of sites");
  const Rows<std::uint64_t> queries = rows<std::uint64_t>(queries_object, "queries", kBits);
  check_words(queries.num_columns, num_sites, "queries");
  const std::int64_t num_queries = queries.num_rows;
  if (num_queries > 1 && queries.stride != queries.num_columns) {
    type_error("queries", kBits, "rows that are not adjacent");
  }
  const std::uint64_t* missing = nullptr;
  Rows<std::uint64_t> given{};
  if (!missing_object.is_none()) {
    given = rows<std::uint64_t>(missing_object, "missing", kBits);
    check_words(given.num_columns, num_sites, "missing");
    if (given.num_rows != num_queries) {
      value_error("missing", "of as many rows as queries", std::to_string(given.num_rows));
    }
    if (num_queries > 1 && given.stride != given.num_columns) {
      type_error("missing", kBits, "rows that are not adjacent");
    }
    missing = given.data;
  }
  const py::array observed =
      vector<bool>(observed_object, "observed", num_sites,
                   "a contiguous bool (" + std::to_string(num_sites) + ",) array");
  const auto* seen = static_cast<const std::uint8_t*>(observed.data());
  const std::vector<std::uint8_t> observed_copy(seen, seen + num_sites);
  const std::vector<double> switches = check_switches(switches_object, num_sites);
  if (!(error > 0 && error <= 0.5)) {
    value_error("error", "above 0 and at most 0.5", std::to_string(error));
  }
  const Exclude exclude = check_exclude(exclude_object, num_queries, num_haplotypes);
  if (exclude.most == num_haplotypes) {
    value_error("exclude", "such that a haplotype is left", "all " + std::to_string(exclude.most));
  }

  py::array_t<float> result({num_queries, num_sites});
  float* out = result.mutable_data();
  const double operations = static_cast<double>(num_queries) * static_cast<double>(num_sites) *
                            static_cast<double>(num_haplotypes);
  const int num_threads = choose_threads(threads, operations / 8);
  const CopyingPanel model{
      panel.data,           panel.stride,    num_haplotypes,           num_sites,
      observed_copy.data(), switches.data(), static_cast<float>(error)};
  const CopyingQueries wanted{queries.data, missing, num_queries, exclude.data,
                              exclude.num_columns};
  run_without_gil(operations > 1e9, [&](CancelFlag cancel) {
    return copying_dosage(model, wanted, num_threads, cancel, out);
  });
  return result;
}

}  // namespace

void bind_copying(py::module_& module) {
  module.def("copying_dosage", &dosage, py::arg("site_bits"), py::arg("num_haplotypes"),
             py::arg("queries"), py::arg("observed"), py::arg("switches"), py::arg("error"),
             py::arg("exclude").none(true) = py::none(), py::arg("missing").none(true) = py::none(),
             py::arg("threads").none(true) = py::none());
}

}  // namespace snvrag::bindings
