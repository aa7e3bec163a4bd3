#include "snvrag/imputed_text.hpp"

#include <pybind11/numpy.h>

#include <cstring>
#include <string>

#include "checks.hpp"

namespace snvrag::bindings {
namespace {

py::bytes records(const py::bytes& heads_object, const py::object& dosage_object,
                  const py::object& haploid_object) {
  const auto expected = [] { return "a contiguous uint16 (records, 2 * samples) array"; };
  const auto dosage = adjacent_rows<std::uint16_t>(dosage_object, "hap_dosage", expected);
  if (dosage.num_columns % 2 != 0) {
    value_error("hap_dosage", expected(), "shape " + shape_text(dosage.array));
  }
  ImputedDosages dosages;
  dosages.num_samples = dosage.num_columns / 2;
  dosages.hap_dosage = dosage.data;
  const py::array haploid = vector<bool>(haploid_object, "haploid", dosages.num_samples);
  dosages.haploid = values<bool>(haploid);
  char* head = nullptr;
  py::ssize_t num_bytes = 0;
  if (PyBytes_AsStringAndSize(heads_object.ptr(), &head, &num_bytes) != 0) {
    throw py::error_already_set();
  }
  const std::int64_t room = num_bytes + dosage.num_rows * dosages.num_samples * kMaxCellBytes;
  auto text = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, room));
  if (!text) throw py::error_already_set();
  char* const begin = PyBytes_AS_STRING(text.ptr());
  char* out = begin;
  const char* const end = head + num_bytes;
  std::int64_t num_written = 0;
  {
    py::gil_scoped_release release;
    const char* start = head;
    for (; num_written < dosage.num_rows && out != nullptr; ++num_written) {
      const auto* stop =
          static_cast<const char*>(std::memchr(start, '\n', static_cast<std::size_t>(end - start)));
      if (stop == nullptr) break;
      out = std::copy(start, stop, out);
      out = write_cells(dosages, num_written, out);
      if (out != nullptr) *out++ = '\n';
      start = stop + 1;
    }
    if (start != end) num_written = -1;
  }
  if (out == nullptr) value_error("hap_dosage", "at most 1000", "more");
  if (num_written != dosage.num_rows) {
    value_error("heads", "of a line for each record", "another number of lines");
  }
  PyObject* result = text.release().ptr();
  if (_PyBytes_Resize(&result, out - begin) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(result);
}

}  // namespace

void bind_imputed_text(py::module_& module) {
  module.def("imputed_records", &records, py::arg("heads"), py::arg("hap_dosage"),
             py::arg("haploid"));
}

}  // namespace snvrag::bindings
