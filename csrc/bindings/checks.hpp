// Checks of arguments that memory safety needs: type, dtype, shape, layout, and the range of what
// becomes an address or a size. What values mean is checked in snvrag/kernels/_checks.py.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "snvrag/bits.hpp"
#include "snvrag/search.hpp"

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

inline void check_count(std::int64_t got, std::int64_t least, std::int64_t most, const char* name) {
  if (got < least || got > most) {
    value_error(name, "from " + std::to_string(least) + " to " + std::to_string(most),
                std::to_string(got));
  }
}

inline void check_words(std::int64_t got, std::int64_t num_bits, const char* name,
                        const char* unit = "sites") {
  const std::int64_t expected = num_words(num_bits);
  if (got != expected) {
    value_error(name,
                "of " + std::to_string(expected) + " words a row (" + std::to_string(num_bits) +
                    " " + unit + ")",
                std::to_string(got));
  }
}

// Limits of the 64-bit (distance, index) key.
inline constexpr std::int64_t kMaxHaplotypes = std::numeric_limits<std::uint32_t>::max();
inline constexpr std::int64_t kMaxSites = std::numeric_limits<std::int32_t>::max();

// --- numbers -------------------------------------------------------------------------------------

// Returns a Python or NumPy integer, but not a bool or a number that would be rounded.
inline std::int64_t whole_number(const py::handle& object, const char* name) {
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

inline std::int64_t count(const py::handle& object, std::int64_t least, std::int64_t most,
                          const char* name) {
  const std::int64_t value = whole_number(object, name);
  check_count(value, least, most, name);
  return value;
}

// --- arrays --------------------------------------------------------------------------------------
// `expected` is a function that makes the text, so that a call without errors makes none.

template <class T>
std::string dtype_name() {
  const std::string name = py::str(py::dtype::of<T>());
  return (name[0] == 'i' ? "an " : "a ") + name;
}

template <class Expected>
py::array as_array(const py::handle& object, const char* name, Expected expected) {
  if (!py::isinstance<py::array>(object)) type_error(name, expected(), type_name(object));
  return py::reinterpret_borrow<py::array>(object);
}

// An array of T with `ndim` axes in the machine's byte order, of any strides.
template <class T, class Expected>
py::array strided(const py::handle& object, const char* name, int ndim, Expected expected) {
  py::array array = as_array(object, name, expected);
  if (!py::dtype::of<T>().is(array.dtype()) && !py::dtype::of<T>().equal(array.dtype())) {
    type_error(name, expected(), "dtype " + std::string(py::str(array.dtype())));
  }
  if (array.ndim() != ndim) value_error(name, expected(), "shape " + shape_text(array));
  if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0) {
    type_error(name, expected(), "unaligned memory");
  }
  return array;
}

// Rows of T, each contiguous; from one row to the next is any multiple of T.
template <class T>
struct Rows {
  py::array array;  // keeps the memory alive
  const T* data = nullptr;
  std::int64_t num_rows = 0, num_columns = 0, stride = 0;
};

template <class T, class Expected>
Rows<T> rows(const py::handle& object, const char* name, Expected expected) {
  Rows<T> result;
  result.array = strided<T>(object, name, 2, expected);
  const py::array& array = result.array;
  const auto size = static_cast<py::ssize_t>(sizeof(T));
  const bool single = array.shape(0) <= 1 || array.size() == 0;  // the stride is then meaningless
  const bool contiguous = array.shape(1) <= 1 || array.size() == 0 || array.strides(1) == size;
  if (!contiguous || !(single || array.strides(0) % size == 0)) {
    type_error(name, expected(), "rows that are not contiguous");
  }
  result.data = static_cast<const T*>(array.data());
  result.num_rows = array.shape(0);
  result.num_columns = array.shape(1);
  result.stride = single ? array.shape(1) : array.strides(0) / size;
  return result;
}

// Rows without gaps between them.
template <class T, class Expected>
Rows<T> adjacent_rows(const py::handle& object, const char* name, Expected expected) {
  Rows<T> result = rows<T>(object, name, expected);
  if (result.num_rows > 1 && result.stride != result.num_columns) {
    type_error(name, expected(), "rows that are not adjacent");
  }
  return result;
}

inline std::string bits_text() { return "a uint64 (rows, words) array with contiguous rows"; }

inline Rows<std::uint64_t> bit_rows(const py::handle& object, const char* name) {
  return rows<std::uint64_t>(object, name, bits_text);
}

inline Rows<std::uint64_t> adjacent_bit_rows(const py::handle& object, const char* name) {
  return adjacent_rows<std::uint64_t>(object, name, bits_text);
}

// A contiguous one-dimensional array of `size` values.
template <class T>
py::array vector(const py::handle& object, const char* name, std::int64_t size) {
  const auto expected = [size] {
    return "a contiguous " + dtype_name<T>().substr(dtype_name<T>().find(' ') + 1) + " (" +
           std::to_string(size) + ",) array";
  };
  py::array array = strided<T>(object, name, 1, expected);
  if (array.shape(0) != size) value_error(name, expected(), "shape " + shape_text(array));
  if (size > 1 && array.strides(0) != static_cast<py::ssize_t>(sizeof(T))) {
    type_error(name, expected(), "an array that is not contiguous");
  }
  return array;
}

template <class T>
const T* values(const py::array& array) {
  return static_cast<const T*>(array.data());
}

// The memory of an array that is written to.
template <class T>
T* output(py::array array, const char* name) {
  if (!array.writeable()) type_error(name, "a writeable array", "a read-only one");
  return static_cast<T*>(array.mutable_data());
}

// The haplotypes that a search excludes, copied, so that neither another thread nor an output in
// the same memory changes them.
struct ExcludeCopy {
  std::vector<std::int64_t> indices;
  Exclude exclude;
};

inline ExcludeCopy copy_exclude(const py::object& object, std::int64_t num_queries) {
  ExcludeCopy copy;
  if (object.is_none()) return copy;
  const auto expected = [num_queries] {
    return "an int64 (" + std::to_string(num_queries) + ", E) array with contiguous rows";
  };
  const auto given = adjacent_rows<std::int64_t>(object, "exclude", expected);
  if (given.num_rows != num_queries) {
    value_error("exclude", expected(), "shape " + shape_text(given.array));
  }
  copy.indices.assign(given.data, given.data + num_queries * given.num_columns);
  copy.exclude.indices = copy.indices.data();
  copy.exclude.num_columns = given.num_columns;
  return copy;
}

}  // namespace snvrag::bindings
