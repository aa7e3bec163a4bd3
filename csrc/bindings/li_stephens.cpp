#include "snvrag/li_stephens.hpp"

#include <pybind11/numpy.h>

#include <vector>

#include "checks.hpp"
#include "queries.hpp"
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
  const auto site_bits = bit_rows(sites_object, "site_bits");
  check_words(site_bits.num_columns, panel.num_haplotypes, "site_bits", "haplotypes");
  check_count(site_bits.num_rows, 0, kMaxSites, "rows of site_bits");
  panel.site_bits = site_bits.data;
  panel.row_stride = site_bits.stride;
  panel.num_sites = site_bits.num_rows;
  const py::array observed = vector<bool>(observed_object, "observed", panel.num_sites);
  const auto* seen = values<std::uint8_t>(observed);
  const std::vector<std::uint8_t> copied(seen, seen + panel.num_sites);  // sizes follow from it
  panel.observed = copied.data();
  const py::array rho = vector<double>(rho_object, "cumulative_rho", panel.num_sites);
  panel.cumulative_rho = values<double>(rho);
  panel.mismatch = mismatch;
  QueryArguments arguments;
  arguments.read(queries_object, panel.num_sites, exclude_object, missing_object);
  const LiStephensQueries& queries = arguments.queries;

  py::array_t<float> result({queries.num_queries, panel.num_sites});
  float* out = result.mutable_data();
  // About how many haplotypes are looked at.
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
