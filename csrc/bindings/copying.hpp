// The copying model of the CPU extension module.
#pragma once

#include <pybind11/pybind11.h>

namespace snvrag::bindings {

void bind_copying(pybind11::module_& module);

}  // namespace snvrag::bindings
