#include "snvrag/genotypes.hpp"

#include <pybind11/numpy.h>

#include "checks.hpp"

namespace snvrag::bindings {
namespace {

py::tuple genotypes(const py::object& codes_object, const py::object& ploidy_object,
                    const py::object& alleles_object, const py::object& missing_object,
                    const py::object& unphased_object) {
  const auto expected = [] { return "a contiguous int32 (samples, ploidy) array"; };
  const auto codes = adjacent_rows<std::int32_t>(codes_object, "codes", expected);
  const std::int64_t words = num_words(2 * codes.num_rows);
  auto* ploidy =
      output<std::uint8_t>(vector<std::uint8_t>(ploidy_object, "ploidy", codes.num_rows), "ploidy");
  auto* alleles =
      output<std::uint64_t>(vector<std::uint64_t>(alleles_object, "alleles", words), "alleles");
  auto* missing =
      output<std::uint64_t>(vector<std::uint64_t>(missing_object, "missing", words), "missing");
  auto* unphased = output<std::uint64_t>(
      vector<std::uint64_t>(unphased_object, "unphased", num_words(codes.num_rows)), "unphased");
  GenotypeSummary summary;
  {
    py::gil_scoped_release release;
    summary = read_genotypes(codes.data, codes.num_rows, codes.num_columns, ploidy, alleles,
                             missing, unphased);
  }
  return py::make_tuple(summary.first_unphased, summary.num_unphased, summary.first_changed,
                        summary.first_polyploid, summary.num_missing, summary.highest_allele);
}

}  // namespace

void bind_genotypes(py::module_& module) {
  module.def("read_genotypes", &genotypes, py::arg("codes"), py::arg("ploidy"), py::arg("alleles"),
             py::arg("missing"), py::arg("unphased"));
}

}  // namespace snvrag::bindings
