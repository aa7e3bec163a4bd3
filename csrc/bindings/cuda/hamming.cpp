#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "cuda_api.hpp"
#include "device_checks.hpp"

namespace snvrag::bindings {
namespace {

cuda::HammingIndex index_of(const py::object& plan, const py::object& words,
                            std::int64_t num_haplotypes, std::int64_t num_sites,
                            CallDevice& device) {
  check_count(num_sites, 0, kMaxSites, "num_sites");
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  cuda::HammingIndex index;
  index.num_haplotypes = num_haplotypes;
  index.num_sites = num_sites;
  index.max_words = device_array<std::uint64_t>(words, "words", 2, device).size(0);
  check_count(index.max_words, 0, num_words(num_sites), "rows of words");
  index.plan = device_output<std::uint64_t>(plan, "plan", {cuda::plan_size(num_sites)}, device);
  index.words = device_output<std::uint64_t>(
      words, "words", {index.max_words, cuda::row_pitch(num_haplotypes)}, device);
  check_vectors(index.plan, "plan");
  check_vectors(index.words, "words");
  return index;
}

const std::uint8_t* observed_of(const py::object& capsule, std::int64_t num_sites,
                                CallDevice& device) {
  if (capsule.is_none()) return nullptr;
  return device_input<std::uint8_t>(capsule, "observed", {num_sites}, device);
}

void index_build(const py::object& panel_object, std::int64_t num_sites,
                 const py::object& observed_object, const py::object& plan, const py::object& words,
                 std::uintptr_t stream) {
  CallDevice device;
  const auto panel = device_rows<std::uint64_t>(panel_object, "panel", device);
  check_count(panel.num_rows, 1, kMaxHaplotypes, "rows of panel");
  const cuda::HammingIndex index = index_of(plan, words, panel.num_rows, num_sites, device);
  check_words(panel.num_columns, num_sites, "panel");
  const std::uint8_t* observed = observed_of(observed_object, num_sites, device);
  py::gil_scoped_release release;
  device.enter();
  cuda::hamming_index_build(panel.data, panel.stride, observed, index, as_stream(stream));
}

void index_build_from_sites(const py::object& site_bits_object, std::int64_t num_haplotypes,
                            const py::object& observed_object, const py::object& plan,
                            const py::object& words, std::uintptr_t stream) {
  CallDevice device;
  const auto site_bits = device_rows<std::uint64_t>(site_bits_object, "site_bits", device);
  const std::int64_t num_sites = site_bits.num_rows;
  const cuda::HammingIndex index = index_of(plan, words, num_haplotypes, num_sites, device);
  check_words(site_bits.num_columns, num_haplotypes, "site_bits", "haplotypes");
  const std::uint8_t* observed = observed_of(observed_object, num_sites, device);
  py::gil_scoped_release release;
  device.enter();
  cuda::hamming_index_build_from_sites(site_bits.data, site_bits.stride, observed, index,
                                       as_stream(stream));
}

std::size_t workspace_bytes(std::int64_t max_words, std::int64_t num_haplotypes,
                            std::int64_t num_queries, std::int64_t k, std::size_t block_bytes,
                            bool weighted) {
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  check_count(k, 1, num_haplotypes, "k");
  cuda::HammingIndex index;
  index.max_words = max_words;
  index.num_haplotypes = num_haplotypes;
  return weighted ? cuda::weighted_hamming_workspace_bytes(index, num_queries, k, block_bytes)
                  : cuda::hamming_workspace_bytes(index, num_queries, k, block_bytes);
}

void search(const py::object& plan, const py::object& words, std::int64_t num_haplotypes,
            std::int64_t num_sites, const py::object& queries_object, std::int64_t k,
            const py::object& exclude_object, const py::object& weights_object,
            const py::object& workspace_object, std::size_t block_bytes,
            const py::object& distances_object, const py::object& indices_object,
            std::uintptr_t stream) {
  CallDevice device;
  const cuda::HammingIndex index = index_of(plan, words, num_haplotypes, num_sites, device);
  const auto given = device_rows<std::uint64_t>(queries_object, "queries", device);
  check_words(given.num_columns, num_sites, "queries");
  check_count(k, 1, num_haplotypes, "k");
  HammingQueries queries;
  queries.bits = given.data;
  queries.num_queries = given.num_rows;
  queries.row_stride = given.stride;
  queries.k = k;
  queries.exclude = device_exclude(exclude_object, given.num_rows, device);
  const bool weighted = !weights_object.is_none();
  const cuda::Workspace workspace = device_workspace(
      workspace_object, block_bytes,
      workspace_bytes(index.max_words, num_haplotypes, given.num_rows, k, block_bytes, weighted),
      device);
  const std::vector<std::int64_t> shape = {given.num_rows, k};
  auto* indices = device_output<std::int64_t>(indices_object, "indices", shape, device);
  if (weighted) {
    const auto* weights = device_input<float>(weights_object, "weights", {num_sites}, device);
    auto* distances = device_output<float>(distances_object, "distances", shape, device);
    py::gil_scoped_release release;
    device.enter();
    cuda::weighted_hamming_search(index, weights, queries, workspace, distances, indices,
                                  as_stream(stream));
  } else {
    auto* distances = device_output<std::int32_t>(distances_object, "distances", shape, device);
    py::gil_scoped_release release;
    device.enter();
    cuda::hamming_search(index, queries, workspace, distances, indices, as_stream(stream));
  }
}

}  // namespace

void bind_cuda_hamming(py::module_& module) {
  module.def("row_pitch", &cuda::row_pitch, py::arg("num_rows"));
  module.def("plan_size", &cuda::plan_size, py::arg("num_sites"));
  module.def("hamming_index_build", &index_build, py::arg("panel"), py::arg("num_sites"),
             py::arg("observed").none(true), py::arg("plan"), py::arg("words"), py::arg("stream"));
  module.def("hamming_index_build_from_sites", &index_build_from_sites, py::arg("site_bits"),
             py::arg("num_haplotypes"), py::arg("observed").none(true), py::arg("plan"),
             py::arg("words"), py::arg("stream"));
  module.def("hamming_workspace_bytes", &workspace_bytes, py::arg("max_words"),
             py::arg("num_haplotypes"), py::arg("num_queries"), py::arg("k"),
             py::arg("block_bytes"), py::arg("weighted"));
  module.def("hamming_search", &search, py::arg("plan"), py::arg("words"),
             py::arg("num_haplotypes"), py::arg("num_sites"), py::arg("queries"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("weights").none(true), py::arg("workspace"),
             py::arg("block_bytes"), py::arg("distances"), py::arg("indices"), py::arg("stream"));
}

}  // namespace snvrag::bindings
