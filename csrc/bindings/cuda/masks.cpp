#include <pybind11/pybind11.h>

#include "cuda_api.hpp"
#include "device_checks.hpp"

namespace snvrag::bindings {
namespace {

void af_guided_masks(const py::object& af_object, const py::object& starts_object,
                     const py::object& stops_object, const py::object& mask_object,
                     std::uint64_t seed, std::uint64_t first_window, double rate, double rare_rate,
                     double rare_threshold, bool mersenne_twister, std::uintptr_t stream) {
  CallDevice device;
  cuda::MaskWindows windows;
  windows.num_sites = device_array<double>(af_object, "af", 1, device).size(0);
  windows.num_windows = device_array<std::int64_t>(starts_object, "starts", 1, device).size(0);
  windows.af = device_input<double>(af_object, "af", {windows.num_sites}, device);
  windows.starts =
      device_input<std::int64_t>(starts_object, "starts", {windows.num_windows}, device);
  windows.stops = device_input<std::int64_t>(stops_object, "stops", {windows.num_windows}, device);
  windows.first_window = first_window;
  cuda::MaskRates rates;
  rates.seed = seed;
  rates.rate = rate;
  rates.rare_rate = rare_rate;
  rates.rare_threshold = rare_threshold;
  rates.mersenne_twister = mersenne_twister;
  auto* mask = device_output<std::uint8_t>(mask_object, "mask", {windows.num_sites}, device);
  py::gil_scoped_release release;
  device.enter();
  cuda::af_guided_masks(windows, rates, mask, as_stream(stream));
}

}  // namespace

void bind_cuda_masks(py::module_& module) {
  module.def("af_guided_masks", &af_guided_masks, py::arg("af"), py::arg("starts"),
             py::arg("stops"), py::arg("mask"), py::arg("seed"), py::arg("first_window"),
             py::arg("rate"), py::arg("rare_rate"), py::arg("rare_threshold"),
             py::arg("mersenne_twister"), py::arg("stream"));
}

}  // namespace snvrag::bindings
