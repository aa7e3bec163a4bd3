// Checks of arrays in device memory, given as DLPack capsules, that memory safety needs.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../checks.hpp"
#include "cuda_api.hpp"
#include "dlpack.hpp"

namespace snvrag::bindings {

// The dtypes accepted for a C++ type: words may be signed, and bools may be exported as bytes.
template <class T>
struct Accepts;
template <>
struct Accepts<double> {
  static constexpr const char* name = "float64";
  static bool code(std::uint8_t code) { return code == dlpack::kFloat; }
};
template <>
struct Accepts<float> {
  static constexpr const char* name = "float32";
  static bool code(std::uint8_t code) { return code == dlpack::kFloat; }
};
template <>
struct Accepts<std::int32_t> {
  static constexpr const char* name = "int32";
  static bool code(std::uint8_t code) { return code == dlpack::kInt; }
};
template <>
struct Accepts<std::int64_t> {
  static constexpr const char* name = "int64";
  static bool code(std::uint8_t code) { return code == dlpack::kInt; }
};
template <>
struct Accepts<std::uint64_t> {
  static constexpr const char* name = "uint64 or int64";
  static bool code(std::uint8_t code) { return code == dlpack::kInt || code == dlpack::kUInt; }
};
template <>
struct Accepts<std::uint8_t> {
  static constexpr const char* name = "bool or uint8";
  static bool code(std::uint8_t code) { return code == dlpack::kBool || code == dlpack::kUInt; }
};

// The device of a call, which all its arrays must share. It is current for the rest of the call
// after enter().
class CallDevice {
 public:
  CallDevice() = default;
  CallDevice(const CallDevice&) = delete;
  CallDevice& operator=(const CallDevice&) = delete;
  ~CallDevice() {
    if (previous_ >= 0) cudaSetDevice(previous_);
  }

  void add(const dlpack::View& array, const std::string& name) {
    const dlpack::Device device = array.tensor->device;
    if (device.type != dlpack::kCuda) {
      type_error(name, "in CUDA memory", "DLPack device type " + std::to_string(device.type));
    }
    if (id_ < 0) id_ = device.id;
    if (device.id != id_) {
      value_error(name, "on device " + std::to_string(id_) + ", as the first array",
                  "device " + std::to_string(device.id));
    }
  }

  void enter() {
    int current = 0;
    cuda::check(cudaGetDevice(&current), "cudaGetDevice");
    if (current == id_) return;
    cuda::check(cudaSetDevice(id_), "cudaSetDevice");
    previous_ = current;
  }

 private:
  int id_ = -1, previous_ = -1;
};

template <class T>
dlpack::View device_array(const py::handle& capsule, const std::string& name, int ndim,
                          CallDevice& device) {
  const dlpack::View view = dlpack::view(capsule, name);
  device.add(view, name);
  const dlpack::DataType dtype = view.tensor->dtype;
  const std::string expected =
      std::string("a ") + Accepts<T>::name + " array of " + std::to_string(ndim) + " axes";
  if (!Accepts<T>::code(dtype.code) || dtype.bits != 8 * sizeof(T) || dtype.lanes != 1) {
    type_error(name, expected, view.dtype_text());
  }
  if (view.tensor->ndim != ndim) value_error(name, expected, "shape " + view.shape_text());
  if (reinterpret_cast<std::uintptr_t>(view.data()) % alignof(T) != 0) {
    type_error(name, expected, "unaligned memory");
  }
  return view;
}

// Rows, each contiguous; from one row to the next is any number of elements from 0 on.
template <class T>
struct DeviceRows {
  const T* data = nullptr;
  std::int64_t num_rows = 0, num_columns = 0, stride = 0;
};

template <class T>
DeviceRows<T> device_rows(const py::handle& capsule, const std::string& name, CallDevice& device) {
  const dlpack::View view = device_array<T>(capsule, name, 2, device);
  const std::int64_t num_rows = view.size(0), num_columns = view.size(1);
  const std::int64_t stride = num_rows <= 1 ? num_columns : view.stride(0);
  if ((num_columns > 1 && view.stride(1) != 1) || stride < 0) {
    type_error(
        name, "an array of contiguous rows",
        "strides (" + std::to_string(view.stride(0)) + ", " + std::to_string(view.stride(1)) + ")");
  }
  DeviceRows<T> result;
  result.data = reinterpret_cast<const T*>(view.data());
  result.num_rows = num_rows;
  result.num_columns = num_columns;
  result.stride = stride;
  return result;
}

// Returns contiguous memory of exactly this shape.
template <class T>
T* device_memory(const py::handle& capsule, const std::string& name,
                 const std::vector<std::int64_t>& shape, CallDevice& device, bool is_output) {
  const dlpack::View view = device_array<T>(capsule, name, static_cast<int>(shape.size()), device);
  std::int64_t stride = 1;
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; --axis) {
    const std::int64_t size = shape[static_cast<std::size_t>(axis)];
    if (view.size(axis) != size) {
      value_error(name, "of " + std::to_string(size) + " along axis " + std::to_string(axis),
                  "shape " + view.shape_text());
    }
    if (size > 1 && view.num_elements() > 0 && view.stride(axis) != stride) {
      type_error(
          name, "contiguous",
          "stride " + std::to_string(view.stride(axis)) + " along axis " + std::to_string(axis));
    }
    stride *= size;
  }
  if (is_output && view.read_only) type_error(name, "writable", "read-only memory");
  return reinterpret_cast<T*>(view.data());
}

template <class T>
const T* device_input(const py::handle& capsule, const std::string& name,
                      const std::vector<std::int64_t>& shape, CallDevice& device) {
  return device_memory<T>(capsule, name, shape, device, false);
}

template <class T>
T* device_output(const py::handle& capsule, const std::string& name,
                 const std::vector<std::int64_t>& shape, CallDevice& device) {
  return device_memory<T>(capsule, name, shape, device, true);
}

// Checks memory that kernels read in vectors.
inline void check_vectors(const void* data, const std::string& name) {
  if (reinterpret_cast<std::uintptr_t>(data) % 16 != 0) {
    type_error(name, "aligned to 16 bytes", "unaligned memory");
  }
}

inline cuda::Workspace device_workspace(const py::handle& capsule, std::size_t block_bytes,
                                        std::size_t bytes, CallDevice& device) {
  cuda::Workspace workspace;
  workspace.data =
      device_output<std::uint8_t>(capsule, "workspace", {static_cast<std::int64_t>(bytes)}, device);
  workspace.block_bytes = block_bytes;
  check_vectors(workspace.data, "workspace");
  return workspace;
}

inline Exclude device_exclude(const py::object& capsule, std::int64_t num_queries,
                              CallDevice& device) {
  Exclude exclude;
  if (capsule.is_none()) return exclude;
  const std::int64_t num_columns =
      device_array<std::int64_t>(capsule, "exclude", 2, device).size(1);
  const auto* indices =
      device_input<std::int64_t>(capsule, "exclude", {num_queries, num_columns}, device);
  if (num_columns == 0) return exclude;
  exclude.indices = indices;
  exclude.num_columns = num_columns;
  return exclude;
}

inline cudaStream_t as_stream(std::uintptr_t stream) {
  return reinterpret_cast<cudaStream_t>(stream);
}

}  // namespace snvrag::bindings
