#include "snvrag/matching.hpp"

#include <pybind11/numpy.h>

#include "checks.hpp"

namespace snvrag::bindings {
namespace {

py::array_t<float> matching(const py::object& queries_object, const py::object& neighbours_object,
                            std::int64_t num_sites, const py::object& observed_object,
                            const py::object& position_object, float decay_sites) {
  check_count(num_sites, 0, kMaxSites, "num_sites");
  if (!(decay_sites > 0)) value_error("decay_sites", "above 0", std::to_string(decay_sites));
  const Rows<std::uint64_t> queries = adjacent_bit_rows(queries_object, "queries");
  const Rows<std::uint64_t> neighbours = adjacent_bit_rows(neighbours_object, "neighbours");
  const Rows<std::uint64_t> observed = adjacent_bit_rows(observed_object, "observed");
  check_words(queries.num_columns, num_sites, "queries");
  check_words(neighbours.num_columns, num_sites, "neighbours");
  check_words(observed.num_columns, num_sites, "observed");
  const std::int64_t num_queries = queries.num_rows;
  const std::int64_t k = num_queries == 0 ? 0 : neighbours.num_rows / num_queries;
  if (k * num_queries != neighbours.num_rows) {
    value_error("neighbours", "of a multiple of " + std::to_string(num_queries) + " rows",
                std::to_string(neighbours.num_rows));
  }
  if (observed.num_rows != 1) {
    value_error("observed", "of one row", std::to_string(observed.num_rows));
  }
  const py::array position = vector<std::int64_t>(position_object, "position", num_sites);
  py::array_t<float> features({num_queries, k, std::int64_t{kMatchFeatures}, num_sites});
  float* out = features.mutable_data();
  MatchPairs pairs;
  pairs.queries = queries.data;
  pairs.neighbours = neighbours.data;
  pairs.num_queries = num_queries;
  pairs.num_neighbours = k;
  pairs.num_sites = num_sites;
  pairs.observed = observed.data;
  pairs.position_bp = values<std::int64_t>(position);
  pairs.decay_sites = decay_sites;
  py::gil_scoped_release release;
  match_features(pairs, out);
  return features;
}

}  // namespace

void bind_matching(py::module_& module) {
  module.def("match_features", &matching, py::arg("queries"), py::arg("neighbours"),
             py::arg("num_sites"), py::arg("observed"), py::arg("position"),
             py::arg("decay_sites"));
}

}  // namespace snvrag::bindings
