// The CUDA extension module. It takes DLPack capsules of device memory, outputs and workspaces
// included: arrays are allocated by the library that the caller uses, never here. Checks dtype,
// shape, layout and device; what the values mean is Python's side to check.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "cuda_api.hpp"
#include "device_arguments.hpp"
#include "snvrag/bits.hpp"

namespace snvrag::bindings {
namespace {

cudaStream_t as_stream(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

// --- masks ---------------------------------------------------------------------------------------

void af_guided_masks(const py::object& af_object, const py::object& starts_object,
                     const py::object& stops_object, const py::object& mask_object,
                     std::uint64_t seed, std::uint64_t first_window, double rate, double rare_rate,
                     double rare_threshold, std::uintptr_t stream) {
  CallDevice device;
  const std::int64_t num_sites = array<double>(af_object, "af", 1, device).size(0);
  const std::int64_t num_windows = array<std::int64_t>(starts_object, "starts", 1, device).size(0);
  const auto* af = input<double>(af_object, "af", {num_sites}, device);
  const auto* starts = input<std::int64_t>(starts_object, "starts", {num_windows}, device);
  const auto* stops = input<std::int64_t>(stops_object, "stops", {num_windows}, device);
  auto* mask = output<std::uint8_t>(mask_object, "mask", {num_sites}, device);
  const cuda::MaskRule rule = {seed, first_window, rate, rare_rate, rare_threshold};
  py::gil_scoped_release release;
  device.enter();
  cuda::af_guided_masks(af, num_sites, starts, stops, num_windows, rule, mask, as_stream(stream));
}

// --- Hamming -------------------------------------------------------------------------------------

cuda::HammingIndex index_of(const py::object& plan, const py::object& words,
                            std::int64_t num_haplotypes, std::int64_t num_sites,
                            CallDevice& device) {
  check_count(num_sites, 0, kMaxSites, "num_sites");
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  cuda::HammingIndex index = {};
  index.num_haplotypes = num_haplotypes;
  index.num_sites = num_sites;
  index.max_words = array<std::uint64_t>(words, "words", 2, device).size(0);
  check_count(index.max_words, 0, num_words(num_sites), "rows of words");
  index.plan = output<std::uint64_t>(plan, "plan", {cuda::plan_size(num_sites)}, device);
  index.words = output<std::uint64_t>(words, "words",
                                      {index.max_words, cuda::row_pitch(num_haplotypes)}, device);
  check_vectors(index.plan, "plan");
  check_vectors(index.words, "words");
  return index;
}

const std::uint8_t* observed_of(const py::object& capsule, std::int64_t num_sites,
                                CallDevice& device) {
  if (capsule.is_none()) return nullptr;
  return input<std::uint8_t>(capsule, "observed", {num_sites}, device);
}

void hamming_index_build(const py::object& panel_object, std::int64_t num_sites,
                         const py::object& observed_object, const py::object& plan,
                         const py::object& words, std::uintptr_t stream) {
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

void hamming_index_build_from_sites(const py::object& site_bits_object, std::int64_t num_haplotypes,
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

std::size_t hamming_workspace_bytes(std::int64_t max_words, std::int64_t num_haplotypes,
                                    std::int64_t num_queries, std::int64_t k,
                                    std::size_t block_bytes, bool weighted) {
  check_count(num_haplotypes, 1, kMaxHaplotypes, "num_haplotypes");
  check_count(k, 1, num_haplotypes, "k");
  cuda::HammingIndex index = {};
  index.max_words = max_words;
  index.num_haplotypes = num_haplotypes;
  return weighted ? cuda::weighted_hamming_workspace_bytes(index, num_queries, k, block_bytes)
                  : cuda::hamming_workspace_bytes(index, num_queries, k, block_bytes);
}

void hamming_search(const py::object& plan, const py::object& words, std::int64_t num_haplotypes,
                    std::int64_t num_sites, const py::object& queries_object, std::int64_t k,
                    const py::object& exclude_object, const py::object& weights_object,
                    const py::object& workspace_object, std::size_t block_bytes,
                    const py::object& distances_object, const py::object& indices_object,
                    std::uintptr_t stream) {
  CallDevice device;
  const cuda::HammingIndex index = index_of(plan, words, num_haplotypes, num_sites, device);
  const auto queries = device_rows<std::uint64_t>(queries_object, "queries", device);
  check_words(queries.num_columns, num_sites, "queries");
  check_count(k, 1, num_haplotypes, "k");
  const Exclude exclude = exclude_of(exclude_object, queries.num_rows, device);
  const bool weighted = !weights_object.is_none();
  void* workspace =
      workspace_memory(workspace_object,
                       hamming_workspace_bytes(index.max_words, num_haplotypes, queries.num_rows, k,
                                               block_bytes, weighted),
                       device);
  const std::vector<std::int64_t> shape = {queries.num_rows, k};
  auto* indices = output<std::int64_t>(indices_object, "indices", shape, device);
  if (weighted) {
    const auto* weights = input<float>(weights_object, "weights", {num_sites}, device);
    auto* distances = output<float>(distances_object, "distances", shape, device);
    py::gil_scoped_release release;
    device.enter();
    cuda::weighted_hamming_search(index, weights, queries.data, queries.num_rows, queries.stride, k,
                                  exclude.data, exclude.num_columns, workspace, block_bytes,
                                  distances, indices, as_stream(stream));
  } else {
    auto* distances = output<std::int32_t>(distances_object, "distances", shape, device);
    py::gil_scoped_release release;
    device.enter();
    cuda::hamming_search(index, queries.data, queries.num_rows, queries.stride, k, exclude.data,
                         exclude.num_columns, workspace, block_bytes, distances, indices,
                         as_stream(stream));
  }
}

// --- squared L2 ----------------------------------------------------------------------------------

std::size_t l2_workspace_bytes(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                               std::size_t block_bytes) {
  check_count(num_rows, 1, kMaxHaplotypes, "rows of cache");
  check_count(k, 1, num_rows, "k");
  return cuda::l2_workspace_bytes(num_queries, num_rows, k, block_bytes);
}

void topk_l2(const py::object& queries_object, const py::object& cache_object, std::int64_t k,
             const py::object& exclude_object, const py::object& workspace_object,
             std::size_t block_bytes, const py::object& distances_object,
             const py::object& indices_object, const py::object& first_nan_object,
             std::uintptr_t stream) {
  CallDevice device;
  const auto queries = device_rows<float>(queries_object, "queries", device);
  const auto cache = device_rows<float>(cache_object, "cache", device);
  if (queries.num_columns != cache.num_columns) {
    value_error("queries", "of " + std::to_string(cache.num_columns) + " dimensions, as cache",
                std::to_string(queries.num_columns));
  }
  check_count(cache.num_rows, 1, kMaxHaplotypes, "rows of cache");
  check_count(k, 1, cache.num_rows, "k");
  const Exclude exclude = exclude_of(exclude_object, queries.num_rows, device);
  void* workspace = workspace_memory(
      workspace_object, cuda::l2_workspace_bytes(queries.num_rows, cache.num_rows, k, block_bytes),
      device);
  const std::vector<std::int64_t> shape = {queries.num_rows, k};
  auto* distances = output<float>(distances_object, "distances", shape, device);
  auto* indices = output<std::int64_t>(indices_object, "indices", shape, device);
  auto* first_nan = output<std::uint64_t>(first_nan_object, "first_nan", {1}, device);
  py::gil_scoped_release release;
  device.enter();
  cuda::topk_l2({queries.data, queries.num_rows, queries.stride},
                {cache.data, cache.num_rows, cache.stride}, cache.num_columns, k, exclude.data,
                exclude.num_columns, workspace, block_bytes, distances, indices, first_nan,
                as_stream(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA kernels of snvrag; use them through snvrag.kernels.";
  py::register_exception<cuda::CudaError>(module, "CudaError", PyExc_RuntimeError);

  module.def("device_count", &device_count);
  module.def("compiled_architectures", &cuda::compiled_architectures);
  module.def("row_pitch", &cuda::row_pitch, py::arg("num_rows"));
  module.def("plan_size", &cuda::plan_size, py::arg("num_sites"));

  module.def("af_guided_masks", &af_guided_masks, py::arg("af"), py::arg("starts"),
             py::arg("stops"), py::arg("mask"), py::arg("seed"), py::arg("first_window"),
             py::arg("rate"), py::arg("rare_rate"), py::arg("rare_threshold"), py::arg("stream"));

  module.def("hamming_index_build", &hamming_index_build, py::arg("panel"), py::arg("num_sites"),
             py::arg("observed").none(true), py::arg("plan"), py::arg("words"), py::arg("stream"));
  module.def("hamming_index_build_from_sites", &hamming_index_build_from_sites,
             py::arg("site_bits"), py::arg("num_haplotypes"), py::arg("observed").none(true),
             py::arg("plan"), py::arg("words"), py::arg("stream"));
  module.def("hamming_workspace_bytes", &hamming_workspace_bytes, py::arg("max_words"),
             py::arg("num_haplotypes"), py::arg("num_queries"), py::arg("k"),
             py::arg("block_bytes"), py::arg("weighted"));
  module.def("hamming_search", &hamming_search, py::arg("plan"), py::arg("words"),
             py::arg("num_haplotypes"), py::arg("num_sites"), py::arg("queries"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("weights").none(true), py::arg("workspace"),
             py::arg("block_bytes"), py::arg("distances"), py::arg("indices"), py::arg("stream"));

  module.def("l2_workspace_bytes", &l2_workspace_bytes, py::arg("num_queries"), py::arg("num_rows"),
             py::arg("k"), py::arg("block_bytes"));
  module.def("topk_l2", &topk_l2, py::arg("queries"), py::arg("cache"), py::arg("k"),
             py::arg("exclude").none(true), py::arg("workspace"), py::arg("block_bytes"),
             py::arg("distances"), py::arg("indices"), py::arg("first_nan"), py::arg("stream"));
}

}  // namespace snvrag::bindings
