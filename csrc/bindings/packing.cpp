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

// What is gathered: columns of the rows from `start` on.
struct Gathered {
  Rows<std::uint64_t> bits;
  std::int64_t start = 0, num_rows = 0;
  std::vector<std::int64_t> columns;  // a copy, so that no other thread changes them once checked

  std::int64_t num_columns() const { return static_cast<std::int64_t>(columns.size()); }
};

Gathered gathered(const py::object& object, std::int64_t start, std::int64_t stop,
                  const py::object& columns_object) {
  Gathered result;
  result.bits = bit_rows(object, "bits");
  const Rows<std::uint64_t>& bits = result.bits;
  if (start < 0 || stop < start || stop > bits.num_rows) {
    value_error("start, stop", "a range within " + std::to_string(bits.num_rows) + " rows",
                "[" + std::to_string(start) + ", " + std::to_string(stop) + ")");
  }
  result.start = start;
  result.num_rows = stop - start;
  const auto expected = [] { return "a contiguous int64 (n,) array"; };
  const std::int64_t n = strided<std::int64_t>(columns_object, "columns", 1, expected).shape(0);
  const py::array given = vector<std::int64_t>(columns_object, "columns", n);
  const auto* data = values<std::int64_t>(given);
  result.columns.assign(data, data + n);
  for (std::size_t i = 0; i < result.columns.size(); ++i) {
    const std::int64_t column = result.columns[i];
    if (column < 0 || column >= 64 * bits.num_columns) {
      value_error("columns", "indices below " + std::to_string(64 * bits.num_columns),
                  std::to_string(column) + " at " + std::to_string(i));
    }
  }
  return result;
}

py::array_t<std::uint64_t> gather(const py::object& object, std::int64_t start, std::int64_t stop,
                                  const py::object& columns_object) {
  const Gathered from = gathered(object, start, stop, columns_object);
  py::array_t<std::uint64_t> result({from.num_columns(), num_words(from.num_rows)});
  std::uint64_t* out = result.mutable_data();
  py::gil_scoped_release release;
  gather_columns(from.bits.data, from.bits.stride, start, from.num_rows, from.columns.data(),
                 from.num_columns(), out);
  return result;
}

void gather_bytes(const py::object& object, std::int64_t start, std::int64_t stop,
                  const py::object& columns_object, const py::object& out_object) {
  const Gathered from = gathered(object, start, stop, columns_object);
  const auto expected = [&from] {
    return "a uint8 (" + std::to_string(from.num_columns()) + ", " + std::to_string(from.num_rows) +
           ") array with contiguous rows that do not overlap";
  };
  const Rows<std::uint8_t> out = rows<std::uint8_t>(out_object, "out", expected);
  if (out.num_rows != from.num_columns() || out.num_columns != from.num_rows) {
    value_error("out", expected(), "shape " + shape_text(out.array));
  }
  if (out.num_rows > 1 && out.stride < out.num_columns) {
    type_error("out", expected(), "rows that overlap");
  }
  auto* data = output<std::uint8_t>(out.array, "out");
  py::gil_scoped_release release;
  gather_alleles(from.bits.data, from.bits.stride, start, from.num_rows, from.columns.data(),
                 from.num_columns(), out.stride, data);
}

}  // namespace

void bind_packing(py::module_& module) {
  module.def("pack_rows", &pack, py::arg("alleles"));
  module.def("unpack_rows", &unpack, py::arg("bits"), py::arg("num_sites"));
  module.def("transpose_bits", &transpose, py::arg("bits"), py::arg("num_columns"));
  module.def("gather_columns", &gather, py::arg("bits"), py::arg("start"), py::arg("stop"),
             py::arg("columns"));
  module.def("gather_alleles", &gather_bytes, py::arg("bits"), py::arg("start"), py::arg("stop"),
             py::arg("columns"), py::arg("out"));
}

}  // namespace snvrag::bindings
