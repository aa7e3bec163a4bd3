#include <pybind11/numpy.h>

#include <cmath>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "snvrag/hamming.hpp"
#include "snvrag/l2.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

// Copies `observed`, because an index is sized by one reading of it and filled by another. Returns
// null for None.
const std::uint8_t* copy_observed(const py::object& observed, std::int64_t num_sites,
                                  std::vector<std::uint8_t>& copy) {
  if (observed.is_none()) return nullptr;
  const py::array given = vector<bool>(observed, "observed", num_sites);
  const auto* data = values<std::uint8_t>(given);
  copy.reserve(1);  // so that the pointer is not null without sites
  copy.assign(data, data + num_sites);
  return copy.data();
}

HammingIndex index_from_haplotypes(const py::object& panel_object,
                                   const py::object& num_sites_object,
                                   const py::object& observed_object) {
  const std::int64_t num_sites = count(num_sites_object, 0, kMaxSites, "num_sites");
  const Rows<std::uint64_t> panel = bit_rows(panel_object, "panel");
  check_words(panel.num_columns, num_sites, "panel");
  check_count(panel.num_rows, 1, kMaxHaplotypes, "rows of panel");
  std::vector<std::uint8_t> copy;
  const std::uint8_t* observed = copy_observed(observed_object, num_sites, copy);
  py::gil_scoped_release release;
  return HammingIndex::from_haplotypes(panel.data, panel.num_rows, num_sites, panel.stride,
                                       observed);
}

HammingIndex index_from_sites(const py::object& sites_object,
                              const py::object& num_haplotypes_object,
                              const py::object& observed_object) {
  const std::int64_t num_haplotypes =
      count(num_haplotypes_object, 1, kMaxHaplotypes, "num_haplotypes");
  const Rows<std::uint64_t> sites = bit_rows(sites_object, "site_bits");
  check_words(sites.num_columns, num_haplotypes, "site_bits", "haplotypes");
  check_count(sites.num_rows, 0, kMaxSites, "rows of site_bits");
  std::vector<std::uint8_t> copy;
  const std::uint8_t* observed = copy_observed(observed_object, sites.num_rows, copy);
  py::gil_scoped_release release;
  return HammingIndex::from_sites(sites.data, num_haplotypes, sites.num_rows, sites.stride,
                                  observed);
}

// The (num_queries, k) output of a search: the caller's array, or a new one.
template <class T>
py::array_t<T> output_or_new(const py::handle& given, const char* name, std::int64_t num_queries,
                             std::int64_t k) {
  if (given.is_none()) return py::array_t<T>({num_queries, k});
  const auto expected = [num_queries, k] {
    return dtype_name<T>() + " (" + std::to_string(num_queries) + ", " + std::to_string(k) +
           ") array that is contiguous and writeable";
  };
  const Rows<T> rows = adjacent_rows<T>(given, name, expected);
  if (rows.num_rows != num_queries || rows.num_columns != k) {
    value_error(name, expected(), "shape " + shape_text(rows.array));
  }
  output<T>(rows.array, name);
  return py::reinterpret_borrow<py::array_t<T>>(given);
}

py::tuple search(const HammingIndex& index, const py::object& queries_object,
                 const py::object& k_object, const py::object& exclude_object,
                 const py::object& weights_object, const py::object& threads,
                 const py::object& distances_object, const py::object& indices_object) {
  const Rows<std::uint64_t> given = bit_rows(queries_object, "queries");
  check_words(given.num_columns, index.num_sites(), "queries");
  HammingQueries queries;
  queries.bits = given.data;
  queries.num_queries = given.num_rows;
  queries.row_stride = given.stride;
  queries.k = count(k_object, 1, index.num_haplotypes(), "k");
  const ExcludeCopy exclude = copy_exclude(exclude_object, queries.num_queries);
  queries.exclude = exclude.exclude;
  // A word of weights costs about ten times a word of plain differences.
  const double operations = (weights_object.is_none() ? 1.0 : 10.0) *
                            static_cast<double>(queries.num_queries) *
                            static_cast<double>(index.num_haplotypes()) *
                            static_cast<double>(num_words(index.num_observed()) + 1);
  const int num_threads = choose_threads(threads, operations);
  const auto run = [&](auto distances, auto work) {
    auto indices =
        output_or_new<std::int64_t>(indices_object, "out[1]", queries.num_queries, queries.k);
    auto* distances_out = distances.mutable_data();
    std::int64_t* indices_out = indices.mutable_data();
    run_without_gil(operations > 1e8,
                    [&](CancelFlag cancel) { return work(distances_out, indices_out, cancel); });
    return py::make_tuple(distances, indices);
  };
  if (weights_object.is_none()) {
    return run(
        output_or_new<std::int32_t>(distances_object, "out[0]", queries.num_queries, queries.k),
        [&](std::int32_t* distances, std::int64_t* indices, CancelFlag cancel) {
          return index.search(queries, num_threads, distances, indices, cancel);
        });
  }
  const py::array given_weights = vector<float>(weights_object, "weights", index.num_sites());
  const auto* data = values<float>(given_weights);
  // Copied, so that no other thread changes a weight between its two uses.
  const std::vector<float> weights(data, data + index.num_sites());
  return run(output_or_new<float>(distances_object, "out[0]", queries.num_queries, queries.k),
             [&](float* distances, std::int64_t* indices, CancelFlag cancel) {
               return index.search_weighted(queries, weights.data(), num_threads, distances,
                                            indices, cancel);
             });
}

// Finds the first NaN, row-major; empty if there is none.
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

[[noreturn]] void report_nan(const Rows<float>& queries, const Rows<float>& database) {
  for (const auto& [name, rows] :
       {std::pair{"database", &database}, std::pair{"queries", &queries}}) {
    const std::string place = first_nan(*rows);
    if (!place.empty()) value_error(name, "finite", "nan at " + place);
  }
  value_error("queries and database", "finite", "infinities at the same place");
}

FloatRows float_rows(const Rows<float>& rows) {
  FloatRows result;
  result.data = rows.data;
  result.num_rows = rows.num_rows;
  result.row_stride = rows.stride;
  return result;
}

py::tuple l2(const py::object& queries_object, const py::object& database_object,
             const py::object& k_object, const py::object& exclude_object,
             const py::object& threads, const py::object& distances_object,
             const py::object& indices_object) {
  const auto expected = [] { return "a float32 (rows, dimensions) array with contiguous rows"; };
  const Rows<float> queries = rows<float>(queries_object, "queries", expected);
  const Rows<float> database = rows<float>(database_object, "database", expected);
  if (queries.num_columns != database.num_columns) {
    value_error("queries",
                "of " + std::to_string(database.num_columns) + " dimensions, as database",
                std::to_string(queries.num_columns));
  }
  check_count(database.num_rows, 1, kMaxHaplotypes, "rows of database");
  L2Search wanted;
  wanted.queries = float_rows(queries);
  wanted.database = float_rows(database);
  wanted.num_dimensions = database.num_columns;
  wanted.k = count(k_object, 1, database.num_rows, "k");
  const ExcludeCopy exclude = copy_exclude(exclude_object, queries.num_rows);
  wanted.exclude = exclude.exclude;
  const double operations = static_cast<double>(queries.num_rows) *
                            static_cast<double>(database.num_rows) *
                            static_cast<double>(database.num_columns + 1) / 16.0;
  const int num_threads = choose_threads(threads, operations);
  auto distances = output_or_new<float>(distances_object, "out[0]", queries.num_rows, wanted.k);
  auto indices = output_or_new<std::int64_t>(indices_object, "out[1]", queries.num_rows, wanted.k);
  float* distances_out = distances.mutable_data();
  std::int64_t* indices_out = indices.mutable_data();
  const L2Result result = run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return topk_l2(wanted, num_threads, distances_out, indices_out, cancel);
  });
  if (result == L2Result::not_a_number) report_nan(queries, database);
  return py::make_tuple(distances, indices);
}

}  // namespace

void bind_retrieval(py::module_& module) {
  module.def("topk_l2", &l2, py::arg("queries"), py::arg("database"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("threads").none(true),
             py::arg("distances") = py::none(), py::arg("indices") = py::none());

  // Without __new__ and subclasses, every object has been built by one of the two functions.
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
           py::arg("weights").none(true), py::arg("threads").none(true),
           py::arg("distances") = py::none(), py::arg("indices") = py::none())
      .def_property_readonly("num_haplotypes", &HammingIndex::num_haplotypes)
      .def_property_readonly("num_sites", &HammingIndex::num_sites)
      .def_property_readonly("num_observed", &HammingIndex::num_observed)
      .def_property_readonly("num_bytes", &HammingIndex::num_bytes);
}

}  // namespace snvrag::bindings
