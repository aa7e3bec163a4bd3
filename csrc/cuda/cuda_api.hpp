// Entry points of the CUDA kernels: device pointers, sizes and a stream.
//
// They only put work on the stream: none synchronises or allocates, so they may be captured in a
// graph. Temporary memory is the caller's, of the size that the *_workspace_bytes functions return.
// Pointers refer to memory of the current device. A failed launch throws CudaError. Sizes are
// trusted, indices found in device memory are not.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "snvrag/search.hpp"

namespace snvrag::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(const std::string& what, cudaError_t status)
      : std::runtime_error(what + ": " + cudaGetErrorName(status) + ", " +
                           cudaGetErrorString(status)) {}
};

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears the error: it is reported here
  throw CudaError(what, status);
}

// Compute capabilities with machine code in this build, as 10 * major + minor.
std::vector<int> compiled_architectures();

// --- masks ---------------------------------------------------------------------------------------

// Window i is [starts[i], stops[i]) and has the number first_window + i. Windows must not overlap;
// one that is not a range within the sites is ignored.
struct MaskWindows {
  const double* af = nullptr;
  std::int64_t num_sites = 0;
  const std::int64_t* starts = nullptr;
  const std::int64_t* stops = nullptr;
  std::int64_t num_windows = 0;
  std::uint64_t first_window = 0;
};

struct MaskRates {
  std::uint64_t seed = 0;
  double rate = 0;
  double rare_rate = 0;
  double rare_threshold = 0;
  // Draws of numpy.random.RandomState instead of Philox; a window's key must then be below 2^32.
  bool mersenne_twister = false;
};

// Writes num_sites bytes: 1 where the site is hidden, 0 elsewhere and in no window.
void af_guided_masks(const MaskWindows& windows, const MaskRates& rates, std::uint8_t* mask,
                     cudaStream_t stream);

// --- Hamming -------------------------------------------------------------------------------------

// The observed sites of a panel, compacted. Word w of haplotype h is words[w * row_pitch(H) + h];
// haplotypes from H to the pitch are zero. The plan, on the device, has the number of words in use,
// so that a mask made there need not be counted on the host: max_words is only the capacity
// (ceil(observed / 64) if the caller knows, else num_words(num_sites)).
struct HammingIndex {
  std::uint64_t* plan = nullptr;   // plan_size(num_sites) words, 16-byte aligned
  std::uint64_t* words = nullptr;  // max_words * row_pitch(num_haplotypes) words, 16-byte aligned
  std::int64_t max_words = 0;
  std::int64_t num_haplotypes = 0;
  std::int64_t num_sites = 0;
};

// Temporary memory of a search, 16-byte aligned.
struct Workspace {
  void* data = nullptr;
  std::size_t block_bytes = 0;  // of the block of distances: as given to *_workspace_bytes
};

std::int64_t row_pitch(std::int64_t num_rows);
std::int64_t plan_size(std::int64_t num_sites);

// `panel` has num_haplotypes rows of num_words(num_sites) words, row_stride words apart; `observed`
// has num_sites bytes, nonzero where a site counts, or is null if all do.
void hamming_index_build(const std::uint64_t* panel, std::int64_t row_stride,
                         const std::uint8_t* observed, const HammingIndex& index,
                         cudaStream_t stream);

// The same from rows of sites: num_sites rows of num_words(num_haplotypes) words. Bits past the
// last haplotype may be set.
void hamming_index_build_from_sites(const std::uint64_t* site_bits, std::int64_t row_stride,
                                    const std::uint8_t* observed, const HammingIndex& index,
                                    cudaStream_t stream);

// Bytes of the workspace of a search. Its block of distances takes at most `block_bytes`, or the
// distances of one query if those are more.
std::size_t hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                    std::int64_t k, std::size_t block_bytes);

// Writes (num_queries, k) each, ordered by (distance, index).
void hamming_search(const HammingIndex& index, const HammingQueries& queries,
                    const Workspace& workspace, std::int32_t* distances, std::int64_t* indices,
                    cudaStream_t stream);

std::size_t weighted_hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                             std::int64_t k, std::size_t block_bytes);

// The same with a weight for each of the num_sites sites, as snvrag::HammingIndex::search_weighted.
void weighted_hamming_search(const HammingIndex& index, const float* weights,
                             const HammingQueries& queries, const Workspace& workspace,
                             float* distances, std::int64_t* indices, cudaStream_t stream);

// --- squared L2 ----------------------------------------------------------------------------------

std::size_t l2_workspace_bytes(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                               std::size_t block_bytes);

// As hamming_search, by squared Euclidean distance: sums of squared differences in float32, so
// equal rows are at exactly 0. `first_nan` receives the lowest query * num_rows + row whose
// distance is NaN, or 2^64 - 1 if there is none; if there is one, the outputs are unspecified.
void topk_l2(const L2Search& search, const Workspace& workspace, float* distances,
             std::int64_t* indices, std::uint64_t* first_nan, cudaStream_t stream);

}  // namespace snvrag::cuda
