#include "snvrag/li_stephens.hpp"

#include <pybind11/numpy.h>

#include <algorithm>
#include <vector>

#include "checks.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

// The arguments, and the arrays that keep their memory alive.
class Problem {
 public:
  Problem(const py::object& queries_object, const py::object& sites_object,
          const py::object& haplotypes_object, const py::object& observed_object,
          const py::object& rho_object, float mismatch, const py::object& exclude_object,
          const py::object& missing_object) {
    panel.num_haplotypes = count(haplotypes_object, 1, kMaxHaplotypes, "num_haplotypes");
    sites_ = bit_rows(sites_object, "site_bits");
    check_words(sites_.num_columns, panel.num_haplotypes, "site_bits", "haplotypes");
    check_count(sites_.num_rows, 0, kMaxSites, "rows of site_bits");
    panel.site_bits = sites_.data;
    panel.row_stride = sites_.stride;
    panel.num_sites = sites_.num_rows;
    const py::array observed = vector<bool>(observed_object, "observed", panel.num_sites);
    // A copy: sizes follow from it.
    const auto* given = values<std::uint8_t>(observed);
    observed_.assign(given, given + panel.num_sites);
    panel.observed = observed_.data();
    rho_ = vector<double>(rho_object, "cumulative_rho", panel.num_sites);
    panel.cumulative_rho = values<double>(rho_);
    panel.mismatch = mismatch;
    read_queries(queries_object, exclude_object, missing_object);
  }

  // About how many haplotypes are looked at, if each query has so many steps.
  double operations(std::int64_t num_steps) const {
    return static_cast<double>(queries.num_queries) * static_cast<double>(num_steps) *
           static_cast<double>(panel.num_haplotypes);
  }

  LiStephensPanel panel;
  LiStephensQueries queries;

 private:
  void read_queries(const py::object& queries_object, const py::object& exclude_object,
                    const py::object& missing_object) {
    queries_ = adjacent_bit_rows(queries_object, "queries");
    check_words(queries_.num_columns, panel.num_sites, "queries");
    queries.bits = queries_.data;
    queries.num_queries = queries_.num_rows;
    exclude_ = copy_exclude(exclude_object, queries.num_queries);
    queries.exclude = exclude_.exclude;
    if (missing_object.is_none()) return;
    missing_ = adjacent_bit_rows(missing_object, "missing");
    check_words(missing_.num_columns, panel.num_sites, "missing");
    if (missing_.num_rows != queries.num_queries) {
      value_error("missing", "of as many rows as queries", std::to_string(missing_.num_rows));
    }
    queries.missing = missing_.data;
  }

  Rows<std::uint64_t> sites_, queries_, missing_;
  std::vector<std::uint8_t> observed_;
  py::array rho_;
  ExcludeCopy exclude_;
};

py::array_t<float> dosage(const py::object& queries, const py::object& site_bits,
                          const py::object& num_haplotypes, const py::object& observed,
                          const py::object& cumulative_rho, float mismatch,
                          const py::object& exclude, const py::object& missing,
                          const py::object& threads) {
  const Problem problem(queries, site_bits, num_haplotypes, observed, cumulative_rho, mismatch,
                        exclude, missing);
  py::array_t<float> result({problem.queries.num_queries, problem.panel.num_sites});
  float* out = result.mutable_data();
  const double operations = problem.operations(problem.panel.num_sites);
  const int num_threads = choose_threads(threads, operations / 8);
  run_without_gil(operations > 1e9, [&](CancelFlag cancel) {
    return li_stephens_dosage(problem.queries, problem.panel, num_threads, out, cancel);
  });
  return result;
}

}  // namespace

void bind_li_stephens(py::module_& module) {
  module.def("li_stephens_dosage", &dosage, py::arg("queries"), py::arg("site_bits"),
             py::arg("num_haplotypes"), py::arg("observed"), py::arg("cumulative_rho"),
             py::arg("mismatch"), py::arg("exclude").none(true), py::arg("missing").none(true),
             py::arg("threads").none(true));
}

}  // namespace snvrag::bindings
