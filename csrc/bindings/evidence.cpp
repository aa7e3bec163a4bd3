#include "snvrag/evidence.hpp"

#include <pybind11/numpy.h>

#include <vector>

#include "checks.hpp"
#include "local_problem.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

py::array_t<float> evidence(const py::object& queries, const py::object& haplotype_bits,
                            const py::object& observed, const py::object& sites_object,
                            const py::object& counts_object, const py::object& cumulative_rho,
                            float mismatch, const py::object& states, const py::object& exclude,
                            const py::object& missing, const py::object& threads) {
  const LocalProblem problem(queries, haplotype_bits, observed, cumulative_rho, mismatch, states,
                             exclude, missing);
  const HaplotypePanel& panel = problem.panel;
  const py::array given = strided<std::int64_t>(
      sites_object, "sites", 1, [] { return std::string("a contiguous int64 (N,) array"); });
  const std::int64_t num_wanted = given.shape(0);
  const py::array sites = vector<std::int64_t>(sites_object, "sites", num_wanted);
  const py::array counts = vector<std::int64_t>(counts_object, "alt_count", num_wanted);
  // A copy: the sites lead to addresses.
  const std::vector<std::int64_t> wanted(values<std::int64_t>(sites),
                                         values<std::int64_t>(sites) + num_wanted);
  std::vector<std::int64_t> minor(wanted.size());
  std::vector<std::uint8_t> is_alt(wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const std::int64_t least = i == 0 ? 0 : wanted[i - 1] + 1;
    if (wanted[i] < least || wanted[i] >= panel.num_sites) {
      value_error("sites", "ascending and below " + std::to_string(panel.num_sites),
                  std::to_string(wanted[i]));
    }
    const std::int64_t alt = values<std::int64_t>(counts)[i];
    check_count(alt, 0, panel.num_haplotypes, "alt_count");
    is_alt[i] = 2 * alt <= panel.num_haplotypes ? 1 : 0;
    minor[i] = is_alt[i] != 0 ? alt : panel.num_haplotypes - alt;
  }
  py::array_t<float> result({problem.queries.num_queries, num_wanted, std::int64_t{kNumEvidence}});
  float* out = result.mutable_data();
  const double operations =
      problem.operations() * 16 +
      20 * static_cast<double>(problem.queries.num_queries) * static_cast<double>(num_wanted);
  const int num_threads = choose_threads(threads, operations);
  run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return li_stephens_evidence(problem.queries, panel, problem.states, wanted.data(), num_wanted,
                                minor.data(), is_alt.data(), num_threads, out, cancel);
  });
  return result;
}

py::tuple events(const py::object& queries, const py::object& haplotype_bits,
                 const py::object& observed, const py::object& cumulative_rho, float mismatch,
                 const py::object& states, const py::object& exclude, const py::object& missing,
                 const py::object& threads) {
  const LocalProblem problem(queries, haplotype_bits, observed, cumulative_rho, mismatch, states,
                             exclude, missing);
  py::array_t<double> switches(std::max<std::int64_t>(0, problem.num_observed - 1));
  py::array_t<double> log_likelihood(problem.queries.num_queries);
  LiStephensEvents result;
  result.switches = switches.mutable_data();
  result.log_likelihood = log_likelihood.mutable_data();
  const double operations = problem.operations() * 16;
  const int num_threads = choose_threads(threads, operations);
  run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return li_stephens_events(problem.queries, problem.panel, problem.states, num_threads, result,
                              cancel);
  });
  return py::make_tuple(switches, result.mismatches, result.num_alleles, log_likelihood);
}

}  // namespace

void bind_evidence(py::module_& module) {
  module.def("li_stephens_evidence", &evidence, py::arg("queries"), py::arg("haplotype_bits"),
             py::arg("observed"), py::arg("sites"), py::arg("alt_count"), py::arg("cumulative_rho"),
             py::arg("mismatch"), py::arg("states").none(true), py::arg("exclude").none(true),
             py::arg("missing").none(true), py::arg("threads").none(true));
  module.def("li_stephens_events", &events, py::arg("queries"), py::arg("haplotype_bits"),
             py::arg("observed"), py::arg("cumulative_rho"), py::arg("mismatch"),
             py::arg("states").none(true), py::arg("exclude").none(true),
             py::arg("missing").none(true), py::arg("threads").none(true));
}

}  // namespace snvrag::bindings
