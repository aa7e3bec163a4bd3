#include "snvrag/imputed_text.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "checks.hpp"

namespace snvrag::bindings {
namespace {

// Returns each line of `heads` with the cells of a record after it. `write(record, out)` writes the
// cells, of at most `record_bytes` bytes, and returns their end, or nullptr, upon which `refuse`
// raises.
template <class Write, class Refuse>
py::bytes records(const py::bytes& heads, std::int64_t num_records, std::int64_t record_bytes,
                  Write write, Refuse refuse) {
  char* head = nullptr;
  py::ssize_t num_bytes = 0;
  if (PyBytes_AsStringAndSize(heads.ptr(), &head, &num_bytes) != 0) {
    throw py::error_already_set();
  }
  const std::int64_t room = num_bytes + num_records * record_bytes;
  auto text = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, room));
  if (!text) throw py::error_already_set();
  char* const begin = PyBytes_AS_STRING(text.ptr());
  char* out = begin;
  const char* const end = head + num_bytes;
  std::int64_t num_written = 0;
  {
    py::gil_scoped_release release;
    const char* start = head;
    for (; num_written < num_records && out != nullptr; ++num_written) {
      const auto* stop =
          static_cast<const char*>(std::memchr(start, '\n', static_cast<std::size_t>(end - start)));
      if (stop == nullptr) break;
      out = std::copy(start, stop, out);
      out = write(num_written, out);
      if (out != nullptr) *out++ = '\n';
      start = stop + 1;
    }
    if (start != end) num_written = -1;
  }
  if (out == nullptr) refuse();
  if (num_written != num_records) {
    value_error("heads", "of a line for each record", "another number of lines");
  }
  PyObject* result = text.release().ptr();
  if (_PyBytes_Resize(&result, out - begin) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(result);
}

// The values of (records, samples), whose array `kept` keeps alive.
template <class T>
const T* table(const py::object& object, const char* name, std::int64_t num_records,
               std::int64_t num_samples, py::array& kept) {
  const auto expected = [num_records, num_samples] {
    return "a contiguous " + dtype_name<T>().substr(dtype_name<T>().find(' ') + 1) + " (" +
           std::to_string(num_records) + ", " + std::to_string(num_samples) + ") array";
  };
  const auto given = adjacent_rows<T>(object, name, expected);
  if (given.num_rows != num_records || given.num_columns != num_samples) {
    value_error(name, expected(), "shape " + shape_text(given.array));
  }
  kept = given.array;
  return given.data;
}

void refuse_phase_set() { value_error("phase_set", "at least 0", "less"); }

py::bytes imputed_records(const py::bytes& heads, const py::object& dosage_object,
                          const py::object& haploid_object, const py::object& hom_alt_object,
                          const py::object& phase_set_object) {
  const auto expected = [] { return "a contiguous uint16 (records, 2 * samples) array"; };
  const auto dosage = adjacent_rows<std::uint16_t>(dosage_object, "hap_dosage", expected);
  if (dosage.num_columns % 2 != 0) {
    value_error("hap_dosage", expected(), "shape " + shape_text(dosage.array));
  }
  const std::int64_t n = dosage.num_rows, num_samples = dosage.num_columns / 2;
  const py::array haploid = vector<bool>(haploid_object, "haploid", num_samples);
  py::array hom_alt, phase_set;
  ImputedDosages dosages{num_samples, dosage.data, values<bool>(haploid)};
  if (!hom_alt_object.is_none()) {
    dosages.hom_alt = table<std::uint16_t>(hom_alt_object, "hom_alt", n, num_samples, hom_alt);
  }
  if (!phase_set_object.is_none()) {
    dosages.phase_set =
        table<std::int32_t>(phase_set_object, "phase_set", n, num_samples, phase_set);
  }
  const auto write = [&dosages](std::int64_t record, char* out) {
    return write_cells(dosages, record, out);
  };
  return records(heads, n, num_samples * kMaxCellBytes, write, [&dosage] {
    const auto* end = dosage.data + dosage.num_rows * dosage.num_columns;
    const bool is_high = std::any_of(dosage.data, end, [](auto h) { return h > kSureDosage; });
    if (is_high) value_error("hap_dosage", "at most 1000", "more");
    refuse_phase_set();
  });
}

py::bytes phased_records(const py::bytes& heads, const py::object& alleles_object,
                         const py::object& missing_object, const py::object& haploid_object,
                         const py::object& phase_set_object) {
  const py::array haploid = strided<bool>(haploid_object, "haploid", 1,
                                          [] { return "a contiguous bool (samples,) array"; });
  const std::int64_t num_samples = haploid.shape(0), words = num_words(2 * num_samples);
  vector<bool>(haploid_object, "haploid", num_samples);
  const auto alleles = adjacent_bit_rows(alleles_object, "alleles");
  const std::int64_t n = alleles.num_rows;
  py::array kept, missing, phase_set;
  const PhasedGenotypes genotypes{
      num_samples, table<std::uint64_t>(alleles_object, "alleles", n, words, kept),
      table<std::uint64_t>(missing_object, "missing", n, words, missing), values<bool>(haploid),
      table<std::int32_t>(phase_set_object, "phase_set", n, num_samples, phase_set)};
  const auto write = [&genotypes](std::int64_t record, char* out) {
    return write_phased_cells(genotypes, record, out);
  };
  return records(heads, n, num_samples * kMaxPhasedCellBytes, write, refuse_phase_set);
}

}  // namespace

void bind_imputed_text(py::module_& module) {
  module.def("imputed_records", &imputed_records, py::arg("heads"), py::arg("hap_dosage"),
             py::arg("haploid"), py::arg("hom_alt"), py::arg("phase_set"));
  module.def("phased_records", &phased_records, py::arg("heads"), py::arg("alleles"),
             py::arg("missing"), py::arg("haploid"), py::arg("phase_set"));
}

}  // namespace snvrag::bindings
