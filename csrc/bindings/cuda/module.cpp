// The CUDA extension module: names its parts. Arrays, outputs and workspaces come as DLPack
// capsules of device memory: the library that the caller uses allocates them, never this module.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda_api.hpp"

namespace py = pybind11;

namespace snvrag::bindings {

void bind_cuda_masks(py::module_& module);
void bind_cuda_hamming(py::module_& module);
void bind_cuda_l2(py::module_& module);

namespace {

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

}  // namespace

// Free-threaded Python may run this module without the GIL: it has no state of its own. What a call
// checks is in its capsules, which keep their memory alive and whose shapes no one changes; the
// current device, which a call sets and restores, is the thread's own; and the CUDA runtime is
// thread-safe.
PYBIND11_MODULE(_cuda, module, py::mod_gil_not_used()) {
  module.doc() = "CUDA kernels of snvrag; use them through snvrag.kernels.";
  py::register_exception<cuda::CudaError>(module, "CudaError", PyExc_RuntimeError);
  module.def("device_count", &device_count);
  module.def("compiled_architectures", &cuda::compiled_architectures);
  bind_cuda_masks(module);
  bind_cuda_hamming(module);
  bind_cuda_l2(module);
}

}  // namespace snvrag::bindings
