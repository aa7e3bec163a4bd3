#include "snvrag/packing.hpp"

#include <pybind11/numpy.h>

#include <limits>
#include <vector>

#include "checks.hpp"

namespace snvrag::bindings {
namespace {

constexpr std::int64_t kMaxBits = std::numeric_limits<std::int64_t>::max() / 2;

py::array_t<std::uint64_t> pack(const py::object& object) {
  const auto expected = [] { return "an int8, uint8 or bool (rows, columns) array"; };
  py::array alleles = as_array(object, "alleles", expected);
  const char kind = alleles.dtype().kind();
  if (alleles.itemsize() != 1 || (kind != 'i' && kind != 'u' && kind != 'b')) {
    type_error("alleles", expected(), "dtype " + std::string(py::str(alleles.dtype())));
  }
  if (alleles.ndim() != 2) value_error("alleles", expected(), "shape " + shape_text(alleles));
  const std::int64_t num_rows = alleles.shape(0), num_columns = alleles.shape(1);
  py::array_t<std::uint64_t> bits({num_rows, num_words(num_columns)});
  const auto* data = values<std::uint8_t>(alleles);
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
  const std::int64_t num_sites = count(num_sites_object, 0, kMaxBits, "num_sites");
  const Rows<std::uint64_t> bits = bit_rows(object, "bits");
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
  const std::int64_t num_columns = count(columns_object, 0, kMaxBits, "num_columns");
  const Rows<std::uint64_t> bits = bit_rows(object, "bits");
  check_words(bits.num_columns, num_columns, "bits");
  py::array_t<std::uint64_t> result({num_columns, num_words(bits.num_rows)});
  std::uint64_t* out = result.mutable_data();
  py::gil_scoped_release release;
  transpose_bits(bits.data, bits.num_rows, num_columns, bits.stride, out);
  return result;
}

py::array_t<std::uint64_t> gather(const py::object& object, std::int64_t start, std::int64_t stop,
                                  const py::object& columns_object) {
  const Rows<std::uint64_t> bits = bit_rows(object, "bits");
  if (start < 0 || stop < start || stop > bits.num_rows) {
    value_error("start, stop", "a range within " + std::to_string(bits.num_rows) + " rows",
                "[" + std::to_string(start) + ", " + std::to_string(stop) + ")");
  }
  const auto expected = [] { return "a contiguous int64 (n,) array"; };
  const std::int64_t n = strided<std::int64_t>(columns_object, "columns", 1, expected).shape(0);
  const py::array given = vector<std::int64_t>(columns_object, "columns", n);
  const auto* data = values<std::int64_t>(given);
  // Copied, so that no other thread changes the indices once they are checked.
  const std::vector<std::int64_t> columns(data, data + n);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] < 0 || columns[i] >= 64 * bits.num_columns) {
      value_error("columns", "indices below " + std::to_string(64 * bits.num_columns),
                  std::to_string(columns[i]) + " at " + std::to_string(i));
    }
  }
  py::array_t<std::uint64_t> result({n, num_words(stop - start)});
  std::uint64_t* out = result.mutable_data();
  py::gil_scoped_release release;
  gather_columns(bits.data, bits.stride, start, stop - start, columns.data(), n, out);
  return result;
}

}  // namespace

void bind_packing(py::module_& module) {
  module.def("pack_rows", &pack, py::arg("alleles"));
  module.def("unpack_rows", &unpack, py::arg("bits"), py::arg("num_sites"));
  module.def("transpose_bits", &transpose, py::arg("bits"), py::arg("num_columns"));
  module.def("gather_columns", &gather, py::arg("bits"), py::arg("start"), py::arg("stop"),
             py::arg("columns"));
}

}  // namespace snvrag::bindings
