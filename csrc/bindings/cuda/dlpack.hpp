// The part of DLPack that a consumer needs: the layout of its specification, versions 0 and 1
// (https://dmlc.github.io/dlpack/latest/c_api.html), and a view of the tensor in a capsule.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "../checks.hpp"

namespace snvrag::dlpack {

struct Device {
  std::int32_t type, id;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: contiguous, row-major
  std::uint64_t byte_offset;
};

// What a capsule named "dltensor" points to.
struct ManagedTensor {
  Tensor tensor;
  void* manager;
  void (*deleter)(ManagedTensor*);
};

// What a capsule named "dltensor_versioned" points to.
struct ManagedTensorVersioned {
  std::uint32_t major, minor;
  void* manager;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

#if defined(SNVRAG_CUDA_EMULATOR)  // csrc/tests/cuda_emulator: host memory serves as the device's
inline constexpr std::int32_t kCuda = 1;
#else
inline constexpr std::int32_t kCuda = 2;
#endif
inline constexpr std::uint64_t kReadOnly = 1;
inline constexpr std::uint32_t kMajorVersion = 1;

enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBool = 6 };

// A tensor that its capsule keeps alive. The capsule is not consumed, so its destructor frees the
// tensor.
struct View {
  const Tensor* tensor;
  bool read_only;

  char* data() const { return static_cast<char*>(tensor->data) + tensor->byte_offset; }
  std::int64_t size(int axis) const { return tensor->shape[axis]; }

  // Elements from one index of the axis to the next.
  std::int64_t stride(int axis) const {
    if (tensor->strides != nullptr) return tensor->strides[axis];
    std::int64_t stride = 1;
    for (int i = tensor->ndim - 1; i > axis; --i) stride *= tensor->shape[i];
    return stride;
  }

  std::int64_t num_elements() const {
    std::int64_t product = 1;
    for (int i = 0; i < tensor->ndim; ++i) product *= tensor->shape[i];
    return product;
  }

  std::string shape_text() const {
    std::string text = "(";
    for (int i = 0; i < tensor->ndim; ++i) {
      text += (i > 0 ? ", " : "") + std::to_string(tensor->shape[i]);
    }
    return text + (tensor->ndim == 1 ? ",)" : ")");
  }

  std::string dtype_text() const {
    const DataType& dtype = tensor->dtype;
    const char* kind = dtype.code == kInt     ? "int"
                       : dtype.code == kUInt  ? "uint"
                       : dtype.code == kFloat ? "float"
                       : dtype.code == kBool  ? "bool"
                                              : "another kind of ";
    return "dtype " + (kind + std::to_string(dtype.bits)) +
           (dtype.lanes == 1 ? "" : " x " + std::to_string(dtype.lanes));
  }
};

inline View view(const pybind11::handle& capsule, const std::string& name) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed = static_cast<const ManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->major != kMajorVersion) {
      bindings::type_error(name, "a DLPack capsule of version 1",
                           "version " + std::to_string(managed->major));
    }
    return {&managed->tensor, (managed->flags & kReadOnly) != 0};
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    const auto* managed =
        static_cast<const ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    return {&managed->tensor, false};
  }
  bindings::type_error(name, "a DLPack capsule", bindings::type_name(capsule));
}

}  // namespace snvrag::dlpack
