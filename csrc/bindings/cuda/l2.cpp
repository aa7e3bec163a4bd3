#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "cuda_api.hpp"
#include "device_checks.hpp"

namespace snvrag::bindings {
namespace {

FloatRows float_rows(const DeviceRows<float>& rows) {
  FloatRows result;
  result.data = rows.data;
  result.num_rows = rows.num_rows;
  result.row_stride = rows.stride;
  return result;
}

std::size_t workspace_bytes(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                            std::size_t block_bytes) {
  check_count(num_rows, 1, kMaxHaplotypes, "rows of database");
  check_count(k, 1, num_rows, "k");
  return cuda::l2_workspace_bytes(num_queries, num_rows, k, block_bytes);
}

void topk_l2(const py::object& queries_object, const py::object& database_object, std::int64_t k,
             const py::object& exclude_object, const py::object& workspace_object,
             std::size_t block_bytes, const py::object& distances_object,
             const py::object& indices_object, const py::object& first_nan_object,
             std::uintptr_t stream) {
  CallDevice device;
  const auto queries = device_rows<float>(queries_object, "queries", device);
  const auto database = device_rows<float>(database_object, "database", device);
  if (queries.num_columns != database.num_columns) {
    value_error("queries",
                "of " + std::to_string(database.num_columns) + " dimensions, as database",
                std::to_string(queries.num_columns));
  }
  const cuda::Workspace workspace = device_workspace(
      workspace_object, block_bytes,
      workspace_bytes(queries.num_rows, database.num_rows, k, block_bytes), device);
  L2Search search;
  search.queries = float_rows(queries);
  search.database = float_rows(database);
  search.num_dimensions = database.num_columns;
  search.k = k;
  search.exclude = device_exclude(exclude_object, queries.num_rows, device);
  const std::vector<std::int64_t> shape = {queries.num_rows, k};
  auto* distances = device_output<float>(distances_object, "distances", shape, device);
  auto* indices = device_output<std::int64_t>(indices_object, "indices", shape, device);
  auto* first_nan = device_output<std::uint64_t>(first_nan_object, "first_nan", {1}, device);
  py::gil_scoped_release release;
  device.enter();
  cuda::topk_l2(search, workspace, distances, indices, first_nan, as_stream(stream));
}

}  // namespace

void bind_cuda_l2(py::module_& module) {
  module.def("l2_workspace_bytes", &workspace_bytes, py::arg("num_queries"), py::arg("num_rows"),
             py::arg("k"), py::arg("block_bytes"));
  module.def("topk_l2", &topk_l2, py::arg("queries"), py::arg("database"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("workspace"), py::arg("block_bytes"),
             py::arg("distances"), py::arg("indices"), py::arg("first_nan"), py::arg("stream"));
}

}  // namespace snvrag::bindings
