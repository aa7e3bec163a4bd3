// The queries of the Li-Stephens model as arguments, and what keeps their memory alive.
#pragma once

#include <string>

#include "checks.hpp"
#include "snvrag/li_stephens.hpp"

namespace snvrag::bindings {

class QueryArguments {
 public:
  // With two rows each, a query is a sample.
  void read(const py::object& queries_object, std::int64_t num_sites,
            const py::object& exclude_object, const py::object& missing_object,
            std::int64_t rows_each = 1) {
    bits_ = adjacent_bit_rows(queries_object, "queries");
    check_words(bits_.num_columns, num_sites, "queries");
    queries.bits = bits_.data;
    if (bits_.num_rows % rows_each != 0) {
      value_error("queries", "of two rows a sample", std::to_string(bits_.num_rows));
    }
    queries.num_queries = bits_.num_rows / rows_each;
    exclude_ = copy_exclude(exclude_object, queries.num_queries);
    queries.exclude = exclude_.exclude;
    if (missing_object.is_none()) return;
    missing_ = adjacent_bit_rows(missing_object, "missing");
    check_words(missing_.num_columns, num_sites, "missing");
    if (missing_.num_rows != bits_.num_rows) {
      value_error("missing", "of as many rows as queries", std::to_string(missing_.num_rows));
    }
    queries.missing = missing_.data;
  }

  LiStephensQueries queries;

 private:
  Rows<std::uint64_t> bits_, missing_;
  ExcludeCopy exclude_;
};

}  // namespace snvrag::bindings
