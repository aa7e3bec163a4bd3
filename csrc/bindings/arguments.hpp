// Checks of arguments: what the C++ behind the bindings may take for granted.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <string>

namespace snvrag::bindings {

namespace py = pybind11;

inline std::string type_name(const py::handle& object) {
  return py::str(py::type::of(object).attr("__name__"));
}

inline std::string shape_text(const py::array& array) { return py::str(array.attr("shape")); }

[[noreturn]] inline void type_error(const std::string& name, const std::string& expected,
                                    const std::string& got) {
  throw py::type_error(name + " must be " + expected + ", got " + got);
}

[[noreturn]] inline void value_error(const std::string& name, const std::string& expected,
                                     const std::string& got) {
  throw py::value_error(name + " must be " + expected + ", got " + got);
}

inline py::array as_array(const py::handle& object, const std::string& name,
                          const std::string& expected) {
  if (!py::isinstance<py::array>(object)) type_error(name, expected, type_name(object));
  return py::reinterpret_borrow<py::array>(object);
}

// An array of T with `ndim` axes in the machine's byte order, whatever its strides.
template <class T>
py::array strided(const py::handle& object, const std::string& name, int ndim,
                  const std::string& expected) {
  py::array array = as_array(object, name, expected);
  if (!py::dtype::of<T>().is(array.dtype()) && !py::dtype::of<T>().equal(array.dtype())) {
    type_error(name, expected, "dtype " + std::string(py::str(array.dtype())));
  }
  if (array.ndim() != ndim) value_error(name, expected, "shape " + shape_text(array));
  if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0) {
    type_error(name, expected, "unaligned memory");
  }
  return array;
}

// Rows of T, each contiguous; rows may lie any multiple of T apart.
template <class T>
struct Rows {
  py::array array;  // keeps the memory alive
  const T* data;
  std::int64_t num_rows, num_columns, stride;
};

template <class T>
Rows<T> rows(const py::handle& object, const std::string& name, const std::string& expected) {
  py::array array = strided<T>(object, name, 2, expected);
  const auto size = static_cast<py::ssize_t>(sizeof(T));
  const bool single = array.shape(0) <= 1 || array.size() == 0;  // strides then mean nothing
  const bool contiguous = array.shape(1) <= 1 || array.size() == 0 || array.strides(1) == size;
  const bool whole = single || array.strides(0) % size == 0;
  if (!contiguous || !whole) type_error(name, expected, "rows that are not contiguous");
  const std::int64_t stride = single ? array.shape(1) : array.strides(0) / size;
  return {array, static_cast<const T*>(array.data()), array.shape(0), array.shape(1), stride};
}

// A contiguous one-dimensional array of `size` values.
template <class T>
py::array vector(const py::handle& object, const std::string& name, std::int64_t size,
                 const std::string& expected) {
  py::array array = strided<T>(object, name, 1, expected);
  if (array.shape(0) != size) value_error(name, expected, "shape " + shape_text(array));
  if (size > 1 && array.strides(0) != static_cast<py::ssize_t>(sizeof(T))) {
    type_error(name, expected, "an array that is not contiguous");
  }
  return array;
}

// A Python or NumPy integer, but no bool and nothing that would be rounded.
inline std::int64_t whole_number(const py::handle& object, const std::string& name) {
  const std::string type = type_name(object);
  if (PyBool_Check(object.ptr()) || type == "bool" || type == "bool_" ||
      !PyIndex_Check(object.ptr())) {
    type_error(name, "an int", type);
  }
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!number) {
    PyErr_Clear();  // an array of several numbers
    type_error(name, "an int", type);
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) value_error(name, "a 64-bit integer", py::str(number));
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

inline constexpr const char* kBits = "a uint64 (rows, words) array with contiguous rows";

// Limits of the 64-bit (distance, index) key.
inline constexpr std::int64_t kMaxHaplotypes = std::numeric_limits<std::uint32_t>::max();
inline constexpr std::int64_t kMaxSites = std::numeric_limits<std::int32_t>::max();

inline void check_count(std::int64_t got, std::int64_t least, std::int64_t most,
                        const std::string& name) {
  if (got < least || got > most) {
    value_error(name, "from " + std::to_string(least) + " to " + std::to_string(most),
                std::to_string(got));
  }
}

inline void check_words(std::int64_t got, std::int64_t num_bits, const std::string& name,
                        const std::string& unit = "sites") {
  const std::int64_t expected = (num_bits + 63) / 64;
  if (got != expected) {
    value_error(name,
                "of " + std::to_string(expected) + " words a row (" + std::to_string(num_bits) +
                    " " + unit + ")",
                std::to_string(got));
  }
}

}  // namespace snvrag::bindings
