#include "retrieval.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "calls.hpp"
#include "snvrag/hamming.hpp"
#include "snvrag/l2.hpp"

namespace snvrag::bindings {
namespace {

// Copies `observed`, as an index is sized by one reading of it and filled by another; null for
// None.
const std::uint8_t* check_observed(const py::object& observed, std::int64_t num_sites,
                                   std::vector<std::uint8_t>& copy) {
  if (observed.is_none()) return nullptr;
  const py::array given =
      vector<bool>(observed, "observed", num_sites,
                   "a contiguous bool (" + std::to_string(num_sites) + ",) array");
  const auto* data = static_cast<const std::uint8_t*>(given.data());
  copy.reserve(1);  // so that no site at all is not None
  copy.assign(data, data + num_sites);
  return copy.data();
}

HammingIndex index_from_haplotypes(const py::object& panel_object,
                                   const py::object& num_sites_object,
                                   const py::object& observed_object) {
  const std::int64_t num_sites = whole_number(num_sites_object, "num_sites");
  check_count(num_sites, 0, kMaxSites, "num_sites");
  const Rows<std::uint64_t> panel = rows<std::uint64_t>(panel_object, "panel", kBits);
  check_words(panel.num_columns, num_sites, "panel");
  check_count(panel.num_rows, 1, kMaxHaplotypes, "rows of panel");
  std::vector<std::uint8_t> copy;
  const std::uint8_t* observed = check_observed(observed_object, num_sites, copy);
  py::gil_scoped_release release;
  return HammingIndex::from_haplotypes(panel.data, panel.num_rows, num_sites, panel.stride,
                                       observed);
}

HammingIndex index_from_sites(const py::object& sites_object,
                              const py::object& num_haplotypes_object,
                              const py::object& observed_object) {
  const std::int64_t num_haplotypes = whole_number(num_haplotypes_object, "num_haplotypes");
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  const Rows<std::uint64_t> sites = rows<std::uint64_t>(sites_object, "site_bits", kBits);
  check_words(sites.num_columns, num_haplotypes, "site_bits", "haplotypes");
  check_count(sites.num_rows, 0, kMaxSites, "rows of site_bits");
  std::vector<std::uint8_t> copy;
  const std::uint8_t* observed = check_observed(observed_object, sites.num_rows, copy);
  py::gil_scoped_release release;
  return HammingIndex::from_sites(sites.data, num_haplotypes, sites.num_rows, sites.stride,
                                  observed);
}

// An output of a search: the caller's, or a new one.
template <class T>
py::array_t<T> output(const py::handle& given, const std::string& name, std::int64_t num_queries,
                      std::int64_t k) {
  if (given.is_none()) return py::array_t<T>({num_queries, k});
  const std::string expected = "a contiguous, writeable " +
                               std::string(py::str(py::dtype::of<T>())) + " (" +
                               std::to_string(num_queries) + ", " + std::to_string(k) + ") array";
  const Rows<T> rows_given = rows<T>(given, name, expected);
  if (rows_given.num_rows != num_queries || rows_given.num_columns != k) {
    value_error(name, expected, "shape " + shape_text(rows_given.array));
  }
  if (num_queries > 1 && rows_given.stride != k) type_error(name, expected, "rows that are apart");
  if (!rows_given.array.writeable()) type_error(name, expected, "a read-only one");
  return py::reinterpret_borrow<py::array_t<T>>(given);
}

// Checks `weights` and returns a copy, which no other thread can change.
std::vector<float> check_weights(const py::object& object, std::int64_t num_sites) {
  const std::string expected = "a contiguous float32 (" + std::to_string(num_sites) + ",) array";
  const py::array array = vector<float>(object, "weights", num_sites, expected);
  const auto* data = static_cast<const float*>(array.data());
  std::vector<float> weights(data, data + num_sites);
  double total = 0;
  for (std::int64_t site = 0; site < num_sites; ++site) {
    const float weight = weights[static_cast<std::size_t>(site)];
    if (!(weight >= 0) || std::isinf(weight)) {
      value_error("weights", "finite and not negative",
                  std::string(py::str(py::float_(weight))) + " at " + std::to_string(site));
    }
    total += static_cast<double>(weight);
  }
  if (total > static_cast<double>(std::numeric_limits<float>::max())) {
    value_error("weights", "of a sum that a float32 holds",
                std::string(py::str(py::float_(total))));
  }
  return weights;
}

py::tuple search(const HammingIndex& index, const py::object& queries_object,
                 const py::object& k_object, const py::object& exclude_object,
                 const py::object& threads, const py::object& weights_object,
                 const py::object& distances_object, const py::object& indices_object) {
  const std::int64_t k = whole_number(k_object, "k");
  const Rows<std::uint64_t> queries = rows<std::uint64_t>(queries_object, "queries", kBits);
  check_words(queries.num_columns, index.num_sites(), "queries");
  const std::int64_t num_queries = queries.num_rows;
  const Exclude exclude = check_exclude(exclude_object, num_queries, index.num_haplotypes(), k);
  // A word of weights costs about as much as ten of plain differences.
  const double operations = (weights_object.is_none() ? 1.0 : 10.0) *
                            static_cast<double>(num_queries) *
                            static_cast<double>(index.num_haplotypes()) *
                            static_cast<double>(num_words(index.num_observed()) + 1);
  const int num_threads = choose_threads(threads, operations);
  const HammingQueries wanted{queries.data, num_queries,        queries.stride, k,
                              exclude.data, exclude.num_columns};
  const auto run = [&](auto distances, auto work) {
    py::array_t<std::int64_t> indices =
        output<std::int64_t>(indices_object, "out[1]", num_queries, k);
    auto* distances_out = distances.mutable_data();
    std::int64_t* indices_out = indices.mutable_data();
    run_without_gil(operations > 1e8,
                    [&](CancelFlag cancel) { return work(distances_out, indices_out, cancel); });
    return py::make_tuple(distances, indices);
  };
  if (weights_object.is_none()) {
    return run(output<std::int32_t>(distances_object, "out[0]", num_queries, k),
               [&](std::int32_t* distances, std::int64_t* indices, CancelFlag cancel) {
                 return index.search(wanted, num_threads, distances, indices, cancel);
               });
  }
  const std::vector<float> weights = check_weights(weights_object, index.num_sites());
  return run(output<float>(distances_object, "out[0]", num_queries, k),
             [&](float* distances, std::int64_t* indices, CancelFlag cancel) {
               return index.search_weighted(wanted, weights.data(), num_threads, distances, indices,
                                            cancel);
             });
}

// The first value that is not a number, row-major, or none.
std::string first_nan(const Rows<float>& rows) {
  for (std::int64_t r = 0; r < rows.num_rows; ++r) {
    for (std::int64_t c = 0; c < rows.num_columns; ++c) {
      if (std::isnan(rows.data[r * rows.stride + c])) {
        return "(" + std::to_string(r) + ", " + std::to_string(c) + ")";
      }
    }
  }
  return {};
}

py::tuple l2(const py::object& queries_object, const py::object& cache_object,
             const py::object& k_object, const py::object& exclude_object,
             const py::object& threads, const py::object& distances_object,
             const py::object& indices_object) {
  const std::int64_t k = whole_number(k_object, "k");
  const std::string expected = "a float32 (rows, dimensions) array with contiguous rows";
  const Rows<float> queries = rows<float>(queries_object, "queries", expected);
  const Rows<float> cache = rows<float>(cache_object, "cache", expected);
  if (queries.num_columns != cache.num_columns) {
    value_error("queries", "of " + std::to_string(cache.num_columns) + " dimensions, as cache",
                std::to_string(queries.num_columns));
  }
  check_count(cache.num_rows, 1, kMaxHaplotypes, "rows of cache");
  const std::int64_t num_queries = queries.num_rows;
  const Exclude exclude = check_exclude(exclude_object, num_queries, cache.num_rows, k);
  const double operations = static_cast<double>(num_queries) * static_cast<double>(cache.num_rows) *
                            static_cast<double>(cache.num_columns + 1) / 16.0;
  const int num_threads = choose_threads(threads, operations);
  auto distances = output<float>(distances_object, "out[0]", num_queries, k);
  auto indices = output<std::int64_t>(indices_object, "out[1]", num_queries, k);
  float* distances_out = distances.mutable_data();
  std::int64_t* indices_out = indices.mutable_data();
  const L2Result result = run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return topk_l2(queries.data, num_queries, queries.stride, cache.data, cache.num_rows,
                   cache.stride, cache.num_columns, k, exclude.data, exclude.num_columns,
                   num_threads, distances_out, indices_out, cancel);
  });
  if (result == L2Result::not_a_number) {
    for (const auto& [name, given] : {std::pair{"cache", &cache}, std::pair{"queries", &queries}}) {
      const std::string place = first_nan(*given);
      if (!place.empty()) value_error(name, "finite", "nan at " + place);
    }
    value_error("queries and cache", "finite", "infinities at the same place");
  }
  return py::make_tuple(distances, indices);
}

}  // namespace

void bind_retrieval(py::module_& module) {
  module.def("topk_l2", &l2, py::arg("queries"), py::arg("cache"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("threads").none(true),
             py::arg("distances") = py::none(), py::arg("indices") = py::none());

  // Without __new__ and subclasses there is no object that one of the two functions has not built.
  const auto no_new = py::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_new = [](PyTypeObject*, PyObject*, PyObject*) -> PyObject* {
      PyErr_SetString(PyExc_TypeError,
                      "No constructor defined: use from_haplotypes or from_sites of HammingIndex");
      return nullptr;
    };
  });
  py::class_<HammingIndex>(module, "HammingIndex", py::is_final(), no_new)
      .def_static("from_haplotypes", &index_from_haplotypes, py::arg("panel"), py::arg("num_sites"),
                  py::arg("observed").none(true))
      .def_static("from_sites", &index_from_sites, py::arg("site_bits"), py::arg("num_haplotypes"),
                  py::arg("observed").none(true))
      .def("search", &search, py::arg("queries"), py::arg("k"), py::arg("exclude").none(true),
           py::arg("threads").none(true), py::arg("weights") = py::none(),
           py::arg("distances") = py::none(), py::arg("indices") = py::none())
      .def_property_readonly("num_haplotypes", &HammingIndex::num_haplotypes)
      .def_property_readonly("num_sites", &HammingIndex::num_sites)
      .def_property_readonly("num_observed", &HammingIndex::num_observed)
      .def_property_readonly("num_bytes", &HammingIndex::num_bytes);
}

}  // namespace snvrag::bindings
