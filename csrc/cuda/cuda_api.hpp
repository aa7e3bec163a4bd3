// Entry points of the CUDA kernels: device pointers, sizes and a stream.
//
// All of them only put work on the stream: none synchronises, none allocates, so they may be
// captured in a graph. Temporary memory is the caller's; the *_workspace_bytes functions size it.
// Pointers to device memory belong to the current device. A launch that fails throws CudaError;
// sizes are trusted, indices found in device memory are not.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace snvrag::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(const std::string& what, cudaError_t status)
      : std::runtime_error(what + ": " + cudaGetErrorName(status) + ", " +
                           cudaGetErrorString(status)) {}
};

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // reported here, so nobody else should meet it
  throw CudaError(what, status);
}

// Compute capabilities with machine code in this build, as 10 * major + minor.
std::vector<int> compiled_architectures();

// --- masks ---------------------------------------------------------------------------------------

struct MaskRule {
  std::uint64_t seed, first_window;
  double rate, rare_rate, rare_threshold;
};

// Writes num_sites bytes, 1 where hidden, for windows [starts[i], stops[i]) numbered first_window +
// i; a site in no window gets 0. Windows must not overlap; one that is not a range within the sites
// is left out.
void af_guided_masks(const double* af, std::int64_t num_sites, const std::int64_t* starts,
                     const std::int64_t* stops, std::int64_t num_windows, const MaskRule& rule,
                     std::uint8_t* mask, cudaStream_t stream);

// --- Hamming -------------------------------------------------------------------------------------

// The observed sites of a panel, compacted. Word w of haplotype h is words[w * row_pitch(H) + h];
// haplotypes from H to the pitch are zero. The number of words in use stands in the plan, on the
// device, so that a mask made there never has to be counted on the host: max_words is only the room
// (ceil(observed / 64) if the caller knows, else num_words(num_sites)).
struct HammingIndex {
  std::uint64_t* plan;   // plan_size(num_sites) words, 16-byte aligned
  std::uint64_t* words;  // max_words * row_pitch(num_haplotypes) words, 16-byte aligned
  std::int64_t max_words, num_haplotypes, num_sites;
};

std::int64_t row_pitch(std::int64_t num_rows);
std::int64_t plan_size(std::int64_t num_sites);

// `panel` has num_haplotypes rows of num_words(num_sites) words, row_stride words apart; `observed`
// has num_sites bytes, nonzero where a site counts, or is null if all do.
void hamming_index_build(const std::uint64_t* panel, std::int64_t row_stride,
                         const std::uint8_t* observed, const HammingIndex& index,
                         cudaStream_t stream);

// The same from rows of sites: num_sites rows of num_words(num_haplotypes) words. Bits behind the
// last haplotype may be set.
void hamming_index_build_from_sites(const std::uint64_t* site_bits, std::int64_t row_stride,
                                    const std::uint8_t* observed, const HammingIndex& index,
                                    cudaStream_t stream);

// Bytes of temporary memory of a search. The block of distances in it stays below `block_bytes`,
// but never below one query's.
std::size_t hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                    std::int64_t k, std::size_t block_bytes);

// Queries are rows over all num_sites sites. `exclude` is (num_queries, num_exclude); values that
// are no haplotype's index exclude nothing. Writes (num_queries, k) each, ordered by (distance,
// index). Requires 1 <= k <= num_haplotypes less the excluded of each query, and a 16-byte aligned
// workspace of the size above.
void hamming_search(const HammingIndex& index, const std::uint64_t* queries,
                    std::int64_t num_queries, std::int64_t row_stride, std::int64_t k,
                    const std::int64_t* exclude, std::int64_t num_exclude, void* workspace,
                    std::size_t block_bytes, std::int32_t* distances, std::int64_t* indices,
                    cudaStream_t stream);

std::size_t weighted_hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                             std::int64_t k, std::size_t block_bytes);

// The same with a weight for each of the num_sites sites, of which those observed count: the
// distance is the sum of the weights of the sites that differ. Weights are rounded to multiples of
// a power of two, about 2^-30 of the total of those observed, and summed exactly; the sum is
// rounded to float32 once. If a weight is negative or no number, or the total beyond float32, all
// distances are NaN.
void weighted_hamming_search(const HammingIndex& index, const float* weights,
                             const std::uint64_t* queries, std::int64_t num_queries,
                             std::int64_t row_stride, std::int64_t k, const std::int64_t* exclude,
                             std::int64_t num_exclude, void* workspace, std::size_t block_bytes,
                             float* distances, std::int64_t* indices, cudaStream_t stream);

// --- squared L2 ----------------------------------------------------------------------------------

struct FloatRows {
  const float* data;
  std::int64_t num_rows, stride;  // floats from row to row; within a row they are adjacent
};

std::size_t l2_workspace_bytes(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                               std::size_t block_bytes);

// As hamming_search, by squared Euclidean distance: sums of squared differences in float32, so
// equal rows are at exactly 0. `first_nan` receives the lowest query * num_rows + row whose
// distance is not a number, or 2^64 - 1; if there is one, the outputs are unspecified.
void topk_l2(const FloatRows& queries, const FloatRows& cache, std::int64_t num_dimensions,
             std::int64_t k, const std::int64_t* exclude, std::int64_t num_exclude, void* workspace,
             std::size_t block_bytes, float* distances, std::int64_t* indices,
             std::uint64_t* first_nan, cudaStream_t stream);

}  // namespace snvrag::cuda
