#include "snvrag/phasings.hpp"

#include <pybind11/numpy.h>

#include <vector>

#include "checks.hpp"
#include "local_problem.hpp"
#include "threads.hpp"

namespace snvrag::bindings {
namespace {

py::tuple phasings(const py::object& queries, const py::object& haplotype_bits,
                   const py::object& observed, const py::object& cumulative_rho, float mismatch,
                   const py::object& states, const py::object& keys_object,
                   const py::object& first_rank, const py::object& unphased_object,
                   float switch_error, const py::object& exclude, const py::object& missing,
                   const py::object& draws_object, const py::object& threads) {
  const LocalProblem problem(queries, haplotype_bits, observed, cumulative_rho, mismatch, states,
                             exclude, missing, 2);
  const std::int64_t num_samples = problem.queries.num_queries;
  const std::int64_t words = num_words(problem.panel.num_sites);
  const py::array keys = vector<std::uint64_t>(keys_object, "keys", num_samples);
  const std::int64_t draws = count(draws_object, 1, kMaxSites, "draws");
  PhasingQueries samples;
  samples.queries = problem.queries;
  samples.switch_error = switch_error;
  samples.keys = values<std::uint64_t>(keys);
  samples.first_rank = count(first_rank, 0, kMaxSites, "first_rank");
  samples.draws = draws;
  Rows<std::uint64_t> unphased;
  if (!unphased_object.is_none()) {
    unphased = adjacent_bit_rows(unphased_object, "unphased");
    check_words(unphased.num_columns, problem.panel.num_sites, "unphased");
    if (unphased.num_rows != num_samples) {
      value_error("unphased", "of a row for each sample", std::to_string(unphased.num_rows));
    }
    samples.unphased = unphased.data;
  }
  py::array_t<std::uint64_t> swapped({num_samples, draws, words});
  py::array_t<double> log_likelihood(num_samples);
  std::uint64_t* bits = swapped.mutable_data();
  double* likelihoods = log_likelihood.mutable_data();
  const double operations = problem.pairs() / 4;
  const int num_threads = choose_threads(threads, operations);
  run_without_gil(operations > 1e8, [&](CancelFlag cancel) {
    return sample_phasings(samples, problem.panel, problem.states, num_threads, bits, likelihoods,
                           cancel);
  });
  return py::make_tuple(swapped, log_likelihood);
}

}  // namespace

void bind_phasings(py::module_& module) {
  module.def("sample_phasings", &phasings, py::arg("queries"), py::arg("haplotype_bits"),
             py::arg("observed"), py::arg("cumulative_rho"), py::arg("mismatch"),
             py::arg("states").none(true), py::arg("keys"), py::arg("first_rank"),
             py::arg("unphased").none(true), py::arg("switch_error"), py::arg("exclude").none(true),
             py::arg("missing").none(true), py::arg("draws"), py::arg("threads").none(true));
}

}  // namespace snvrag::bindings
