// The CPU extension module: names its parts.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "snvrag/simd.hpp"

namespace py = pybind11;

namespace snvrag::bindings {

void bind_packing(py::module_& module);
void bind_genotypes(py::module_& module);
void bind_head(py::module_& module);
void bind_imputed_text(py::module_& module);
void bind_retrieval(py::module_& module);
void bind_li_stephens(py::module_& module);
void bind_states(py::module_& module);
void bind_evidence(py::module_& module);
void bind_phasings(py::module_& module);

namespace {

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (SimdLevel level : available_simd_levels()) names.emplace_back(simd_level_name(level));
  return names;
}

}  // namespace

// Free-threaded Python may run this module without the GIL: its only state is the instruction set
// in use, an atomic; an index is immutable once built; and values that lead to an address are
// copied before they are checked.
PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "CPU kernels of snvrag; use them through snvrag.kernels.";
  bind_packing(module);
  bind_genotypes(module);
  bind_head(module);
  bind_imputed_text(module);
  bind_retrieval(module);
  bind_li_stephens(module);
  bind_states(module);
  bind_evidence(module);
  bind_phasings(module);

  module.def("simd_levels", &simd_levels);
  module.def("simd_level", [] { return std::string(simd_level_name(simd_level())); });
  module.def("set_simd_level", &set_simd_level, py::arg("level"));
  module.attr("compiler") = __VERSION__;
  module.attr("commit") = SNVRAG_COMMIT;
  simd_level();  // raises an unknown SNVRAG_SIMD at import, not at the first search
}

}  // namespace snvrag::bindings
