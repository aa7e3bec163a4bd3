// The CPU extension module. All argument checks are here: the C++ behind trusts its arguments, and
// the Python in front gives defaults, docstrings and meaning.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <vector>

#include "arguments.hpp"
#include "copying.hpp"
#include "retrieval.hpp"
#include "snvrag/genotypes.hpp"
#include "snvrag/matching.hpp"
#include "snvrag/packing.hpp"
#include "snvrag/simd.hpp"

namespace snvrag::bindings {
namespace {

py::array_t<std::uint64_t> pack(const py::object& object) {
  const std::string expected = "an int8, uint8 or bool (rows, columns) array";
  py::array alleles = as_array(object, "alleles", expected);
  const char kind = alleles.dtype().kind();
  if (alleles.itemsize() != 1 || (kind != 'i' && kind != 'u' && kind != 'b')) {
    type_error("alleles", expected, "dtype " + std::string(py::str(alleles.dtype())));
  }
  if (alleles.ndim() != 2) value_error("alleles", expected, "shape " + shape_text(alleles));
  const std::int64_t num_rows = alleles.shape(0), num_columns = alleles.shape(1);
  py::array_t<std::uint64_t> bits({num_rows, num_words(num_columns)});
  const auto* data = static_cast<const std::uint8_t*>(alleles.data());
  std::uint64_t* out = bits.mutable_data();
  std::int64_t bad = -1;
  if (num_rows > 0 && num_columns > 0) {
    const std::int64_t row_stride = alleles.strides(0), column_stride = alleles.strides(1);
    py::gil_scoped_release release;
    bad = pack_rows(data, num_rows, num_columns, row_stride, column_stride, out);
  }
  if (bad >= 0) {
    const std::int64_t row = bad / num_columns, column = bad % num_columns;
    const int allele = data[row * alleles.strides(0) + column * alleles.strides(1)];
    value_error("alleles", "0 or 1",
                std::to_string(kind == 'i' && allele > 127 ? allele - 256 : allele) + " at (" +
                    std::to_string(row) + ", " + std::to_string(column) + ")");
  }
  return bits;
}

py::array_t<std::int8_t> unpack(const py::object& object, const py::object& num_sites_object) {
  const std::int64_t num_sites = whole_number(num_sites_object, "num_sites");
  check_count(num_sites, 0, std::numeric_limits<std::int64_t>::max() / 2, "num_sites");
  const Rows<std::uint64_t> bits = rows<std::uint64_t>(object, "bits", kBits);
  check_words(bits.num_columns, num_sites, "bits");
  py::array_t<std::int8_t> alleles({bits.num_rows, num_sites});
  auto* out = reinterpret_cast<std::uint8_t*>(alleles.mutable_data());
  if (num_sites > 0) {
    py::gil_scoped_release release;
    unpack_rows(bits.data, bits.num_rows, num_sites, bits.stride, out);
  }
  return alleles;
}

py::array_t<std::uint64_t> transpose(const py::object& object, const py::object& columns_object) {
  const std::int64_t num_columns = whole_number(columns_object, "num_columns");
  check_count(num_columns, 0, std::numeric_limits<std::int64_t>::max() / 2, "num_columns");
  const Rows<std::uint64_t> bits = rows<std::uint64_t>(object, "bits", kBits);
  check_words(bits.num_columns, num_columns, "bits");
  py::array_t<std::uint64_t> result({num_columns, num_words(bits.num_rows)});
  std::uint64_t* out = result.mutable_data();
  py::gil_scoped_release release;
  transpose_bits(bits.data, bits.num_rows, num_columns, bits.stride, out);
  return result;
}

py::array_t<std::uint64_t> gather(const py::object& object, std::int64_t start, std::int64_t stop,
                                  const py::object& columns_object) {
  const Rows<std::uint64_t> bits = rows<std::uint64_t>(object, "bits", kBits);
  if (start < 0 || stop < start || stop > bits.num_rows) {
    value_error("start, stop", "a range within " + std::to_string(bits.num_rows) + " rows",
                "[" + std::to_string(start) + ", " + std::to_string(stop) + ")");
  }
  const std::string expected = "a contiguous int64 (n,) array";
  const py::array any = strided<std::int64_t>(columns_object, "columns", 1, expected);
  const py::array columns = vector<std::int64_t>(columns_object, "columns", any.shape(0), expected);
  const auto* data = static_cast<const std::int64_t*>(columns.data());
  const std::int64_t n = columns.shape(0);
  const std::vector<std::int64_t> wanted(data,
                                         data + n);  // no other thread changes what is checked
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] < 0 || wanted[i] >= 64 * bits.num_columns) {
      value_error("columns", "indices below " + std::to_string(64 * bits.num_columns),
                  std::to_string(wanted[i]) + " at " + std::to_string(i));
    }
  }
  py::array_t<std::uint64_t> result({n, num_words(stop - start)});
  std::uint64_t* out = result.mutable_data();
  py::gil_scoped_release release;
  gather_columns(bits.data, bits.stride, start, stop - start, wanted.data(), n, out);
  return result;
}

// A contiguous array that is written to.
template <class T>
T* output(const py::object& object, const std::string& name, std::int64_t size,
          const std::string& expected) {
  py::array array = vector<T>(object, name, size, expected);  // the caller's object keeps it alive
  if (!array.writeable()) type_error(name, "a writeable array", "a read-only one");
  return static_cast<T*>(array.mutable_data());
}

// Called for every record of a file: what it may have to say is made once.
py::tuple genotypes(const py::object& codes_object, bool hide_unphased,
                    const py::object& ploidy_object, const py::object& alleles_object,
                    const py::object& missing_object) {
  static const std::string codes_name = "codes", ploidy_name = "ploidy", alleles_name = "alleles",
                           missing_name = "missing",
                           expected = "a contiguous int32 (samples, ploidy) array",
                           expected_ploidy = "a contiguous uint8 (samples,) array",
                           expected_row = "a contiguous uint64 array of two bits a sample";
  const Rows<std::int32_t> codes = rows<std::int32_t>(codes_object, codes_name, expected);
  if (codes.num_rows > 1 && codes.stride != codes.num_columns) {
    type_error(codes_name, expected, "rows that are not adjacent");
  }
  const std::int64_t words = num_words(2 * codes.num_rows);
  auto* ploidy = output<std::uint8_t>(ploidy_object, ploidy_name, codes.num_rows, expected_ploidy);
  auto* alleles = output<std::uint64_t>(alleles_object, alleles_name, words, expected_row);
  auto* missing = output<std::uint64_t>(missing_object, missing_name, words, expected_row);
  GenotypeSummary summary;
  {
    py::gil_scoped_release release;
    summary = read_genotypes(codes.data, codes.num_rows, codes.num_columns, hide_unphased, ploidy,
                             alleles, missing);
  }
  return py::make_tuple(summary.first_unphased, summary.num_unphased, summary.first_changed,
                        summary.first_polyploid, summary.num_missing, summary.highest_allele);
}

py::array_t<float> matching(const py::object& queries_object, const py::object& neighbours_object,
                            std::int64_t num_sites, const py::object& observed_object,
                            const py::object& position_object, float decay_sites) {
  check_count(num_sites, 0, kMaxSites, "num_sites");
  if (!(decay_sites > 0)) value_error("decay_sites", "above 0", std::to_string(decay_sites));
  const Rows<std::uint64_t> queries = rows<std::uint64_t>(queries_object, "queries", kBits);
  const Rows<std::uint64_t> neighbours =
      rows<std::uint64_t>(neighbours_object, "neighbours", kBits);
  const Rows<std::uint64_t> observed = rows<std::uint64_t>(observed_object, "observed", kBits);
  for (const Rows<std::uint64_t>* given : {&queries, &neighbours, &observed}) {
    check_words(given->num_columns, num_sites, "queries, neighbours and observed");
    if (given->num_rows > 1 && given->stride != given->num_columns) {
      type_error("queries, neighbours and observed", kBits, "rows that are not adjacent");
    }
  }
  const std::int64_t num_queries = queries.num_rows;
  const std::int64_t k = num_queries == 0 ? 0 : neighbours.num_rows / num_queries;
  if (observed.num_rows != 1 || k * num_queries != neighbours.num_rows) {
    value_error("neighbours", "of a multiple of the queries' rows, and observed one row",
                std::to_string(neighbours.num_rows) + " and " + std::to_string(observed.num_rows));
  }
  const py::array position =
      vector<std::int64_t>(position_object, "position", num_sites,
                           "a contiguous int64 (" + std::to_string(num_sites) + ",) array");
  py::array_t<float> features({num_queries, k, std::int64_t{kMatchFeatures}, num_sites});
  float* out = features.mutable_data();
  const auto* position_data = static_cast<const std::int64_t*>(position.data());
  py::gil_scoped_release release;
  match_features(queries.data, neighbours.data, num_queries, k, num_sites, observed.data,
                 position_data, decay_sites, out);
  return features;
}

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (SimdLevel level : available_simd_levels()) names.emplace_back(simd_level_name(level));
  return names;
}

}  // namespace

// Free-threaded Python may run this module without the GIL: its only state is the instruction set
// in use, an atomic; an index does not change once it is built; and whatever is checked before it
// leads to an address is copied first.
PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "CPU kernels of snvrag; use them through snvrag.kernels.";

  module.def("pack_rows", &pack, py::arg("alleles"));
  module.def("unpack_rows", &unpack, py::arg("bits"), py::arg("num_sites"));
  module.def("transpose_bits", &transpose, py::arg("bits"), py::arg("num_columns"));
  module.def("gather_columns", &gather, py::arg("bits"), py::arg("start"), py::arg("stop"),
             py::arg("columns"));
  module.def("read_genotypes", &genotypes, py::arg("codes"), py::arg("hide_unphased").noconvert(),
             py::arg("ploidy"), py::arg("alleles"), py::arg("missing"));
  module.def("match_features", &matching, py::arg("queries"), py::arg("neighbours"),
             py::arg("num_sites"), py::arg("observed"), py::arg("position"),
             py::arg("decay_sites"));
  bind_retrieval(module);
  bind_copying(module);

  module.def("simd_levels", &simd_levels);
  module.def("simd_level", [] { return std::string(simd_level_name(simd_level())); });
  module.def("set_simd_level", &set_simd_level, py::arg("level"));
  module.attr("compiler") = __VERSION__;
  simd_level();  // an unknown SNVRAG_SIMD is an error at import, not at the first search
}

}  // namespace snvrag::bindings
