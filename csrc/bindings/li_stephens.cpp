#include "snvrag/li_stephens.hpp"

#include <pybind11/numpy.h>

#include "checks.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

py::array_t<float> dosage(const py::object& queries_object, const py::object& sites_object,
                          const py::object& haplotypes_object, const py::object& observed_object,
                          const py::object& rho_object, float mismatch,
                          const py::object& exclude_object, const py::object& missing_object,
                          const py::object& threads) {
  LiStephensPanel panel;
  panel.num_haplotypes = count(haplotypes_object, 1, kMaxHaplotypes, "num_haplotypes");
  const Rows<std::uint64_t> sites = bit_rows(sites_object, "site_bits");
  check_words(sites.num_columns, panel.num_haplotypes, "site_bits", "haplotypes");
  check_count(sites.num_rows, 0, kMaxSites, "rows of site_bits");
  panel.site_bits = sites.data;
  panel.row_stride = sites.stride;
  panel.num_sites = sites.num_rows;
  const py::array observed = vector<bool>(observed_object, "observed", panel.num_sites);
  panel.observed = values<std::uint8_t>(observed);
  const py::array rho = vector<double>(rho_object, "cumulative_rho", panel.num_sites);
  panel.cumulative_rho = values<double>(rho);
  panel.mismatch = mismatch;

  const Rows<std::uint64_t> given = adjacent_bit_rows(queries_object, "queries");
  check_words(given.num_columns, panel.num_sites, "queries");
  LiStephensQueries queries;
  queries.bits = given.data;
  queries.num_queries = given.num_rows;
  const ExcludeCopy exclude = copy_exclude(exclude_object, queries.num_queries);
  queries.exclude = exclude.exclude;
  Rows<std::uint64_t> missing;
  if (!missing_object.is_none()) {
    missing = adjacent_bit_rows(missing_object, "missing");
    check_words(missing.num_columns, panel.num_sites, "missing");
    if (missing.num_rows != queries.num_queries) {
      value_error("missing", "of as many rows as queries", std::to_string(missing.num_rows));
    }
    queries.missing = missing.data;
  }

  py::array_t<float> result({queries.num_queries, panel.num_sites});
  float* out = result.mutable_data();
  const double operations = static_cast<double>(queries.num_queries) *
                            static_cast<double>(panel.num_sites) *
                            static_cast<double>(panel.num_haplotypes);
  const int num_threads = choose_threads(threads, operations / 8);
  run_without_gil(operations > 1e9, [&](CancelFlag cancel) {
    return li_stephens_dosage(queries, panel, num_threads, out, cancel);
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
