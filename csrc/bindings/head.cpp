#include "snvrag/head.hpp"

#include <pybind11/numpy.h>

#include <string>

#include "checks.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

std::string rows_text() { return "a float32 (rows, E) array with contiguous rows"; }

py::array_t<float> log_odds(const py::object& evidence_object, const py::object& mean_object,
                            const py::object& scale_object, const py::object& hidden_weight_object,
                            const py::object& hidden_bias_object,
                            const py::object& output_weight_object, float output_bias,
                            const py::object& threads) {
  const auto evidence = adjacent_rows<float>(evidence_object, "evidence", rows_text);
  const auto hidden_weight = adjacent_rows<float>(hidden_weight_object, "hidden_weight", [] {
    return "a float32 (E, U) array with contiguous rows";
  });
  HeadWeights weights;
  weights.num_evidence = evidence.num_columns;
  weights.num_units = hidden_weight.num_columns;
  check_count(weights.num_evidence, 1, kMaxSites, "columns of evidence");
  if (hidden_weight.num_rows != weights.num_evidence) {
    value_error("hidden_weight", "of a row for each column of evidence",
                "shape " + shape_text(hidden_weight.array));
  }
  const py::array mean = vector<float>(mean_object, "mean", weights.num_evidence);
  const py::array scale = vector<float>(scale_object, "scale", weights.num_evidence);
  const py::array bias = vector<float>(hidden_bias_object, "hidden_bias", weights.num_units);
  const py::array output = vector<float>(output_weight_object, "output_weight", weights.num_units);
  weights.mean = values<float>(mean);
  weights.scale = values<float>(scale);
  weights.hidden_weight = hidden_weight.data;
  weights.hidden_bias = values<float>(bias);
  weights.output_weight = values<float>(output);
  weights.output_bias = output_bias;
  py::array_t<float> result(evidence.num_rows);
  float* out = result.mutable_data();
  const double operations = static_cast<double>(evidence.num_rows) *
                            static_cast<double>(weights.num_evidence) *
                            static_cast<double>(weights.num_units);
  const int num_threads = choose_threads(threads, operations / 8);
  bool is_number = false;
  {
    py::gil_scoped_release release;
    is_number = head_log_odds(weights, evidence.data, evidence.num_rows, num_threads, out);
  }
  if (!is_number) value_error("evidence", "numbers", "NaN");
  return result;
}

}  // namespace

void bind_head(py::module_& module) {
  module.def("head_log_odds", &log_odds, py::arg("evidence"), py::arg("mean"), py::arg("scale"),
             py::arg("hidden_weight"), py::arg("hidden_bias"), py::arg("output_weight"),
             py::arg("output_bias"), py::arg("threads").none(true));
}

}  // namespace snvrag::bindings
