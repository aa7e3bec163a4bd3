// Exact selection of the k smallest keys of each row, shared by all searches.
//
// A search writes the distances of each batch of queries to a block; see for_each_batch. A key is
// (distance << 32 | index): the keys of a row differ and are ordered by (distance, index), so the k
// smallest do not depend on the order in which threads read them. A thread block takes a chunk of a
// row:
//   1. the k-th smallest key of a sample bounds the answer from above;
//   2. the keys up to the bound are collected in shared memory, with one read of the chunk;
//   3. if they do not fit, histograms lower the bound until they do, and they are collected again;
//   4. they are sorted there, and the first k are the answer.
// A second launch selects from the answers of the chunks. For k above kMaxSlice the row is one
// chunk, and the block finds its answer one slice of ranks after another: slow, but correct for any
// k.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "launch.cuh"
#include "scan.cuh"
#include "snvrag/search.hpp"

namespace snvrag::cuda {

constexpr int kSelectThreads = 512;
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr std::int64_t kMaxSlice = 2048;     // ranks found at once
constexpr std::int64_t kMinCapacity = 512;   // keys in shared memory: powers of two,
constexpr std::int64_t kMaxCapacity = 4096;  // the largest at least kMaxSlice
constexpr std::int64_t kMinChunk = 8192;     // columns worth a thread block
constexpr std::int64_t kEnoughBlocks = 512;  // thread blocks that fill a device
constexpr std::int64_t kMaxBatch = 1 << 20;  // rows
constexpr std::int64_t kRowAlignment = 64;   // values: rows and chunks begin at multiples of it
constexpr std::size_t kWorkspaceAlignment = 256;  // bytes, between the parts of a workspace

static_assert(kMaxSlice <= kMaxCapacity, "a slice must fit in shared memory");
static_assert(kBins % kSelectThreads == 0, "find_bin gives each thread the same number of bins");

// How a search is divided into batches of queries, and rows into chunks. Depends on sizes alone.
struct SelectPlan {
  std::int64_t k, num_columns, pitch;
  std::int64_t batch;  // queries at a time
  std::int64_t chunk, num_chunks;
  std::size_t block_bytes, partial_bytes;  // of the distances, of the answers of the chunks

  std::size_t bytes() const { return block_bytes + partial_bytes; }
};

inline SelectPlan plan_selection(std::int64_t num_rows, std::int64_t num_columns, std::int64_t k,
                                 std::size_t value_bytes, std::size_t block_bytes) {
  SelectPlan plan = {};
  plan.k = k;
  plan.num_columns = num_columns;
  plan.pitch = round_up(num_columns, kRowAlignment);
  // Chunks of at least 8 k columns keep the answers of the chunks smaller than the distances.
  const std::int64_t most_chunks =
      k > kMaxSlice ? 1 : larger<std::int64_t>(1, num_columns / larger(kMinChunk, 8 * k));
  const std::int64_t key_bytes = sizeof(std::uint64_t);
  const std::int64_t row_bytes = plan.pitch * static_cast<std::int64_t>(value_bytes) +
                                 (most_chunks > 1 ? most_chunks * k * key_bytes : 0);
  const std::int64_t fitting =
      static_cast<std::int64_t>(block_bytes) / larger<std::int64_t>(1, row_bytes);
  plan.batch = larger<std::int64_t>(1, smaller(smaller(num_rows, kMaxBatch), fitting));
  const std::int64_t wanted_chunks = smaller(most_chunks, ceil_divide(kEnoughBlocks, plan.batch));
  plan.chunk =
      larger(kRowAlignment, round_up(ceil_divide(num_columns, wanted_chunks), kRowAlignment));
  plan.num_chunks = larger<std::int64_t>(1, ceil_divide(num_columns, plan.chunk));
  const std::size_t rows = static_cast<std::size_t>(plan.batch);
  plan.block_bytes =
      round_up(rows * static_cast<std::size_t>(plan.pitch) * value_bytes, kWorkspaceAlignment);
  plan.partial_bytes =
      plan.num_chunks == 1
          ? 0
          : round_up(rows * static_cast<std::size_t>(plan.num_chunks * k * key_bytes),
                     kWorkspaceAlignment);
  return plan;
}

// Chooses the capacity for the keys of n columns of which `slice` are wanted. The sample's bound
// lets about n * slice / capacity keys pass, which fit if capacity^2 is at least 2 * n * slice.
inline std::int64_t choose_capacity(std::int64_t n, std::int64_t slice) {
  std::int64_t capacity = kMinCapacity;
  while (capacity < kMaxCapacity && (capacity * capacity < 2 * n * slice || capacity < 2 * slice)) {
    capacity *= 2;
  }
  return capacity;
}

__device__ inline std::uint64_t distance_key(std::uint32_t distance, std::int64_t index) {
  return static_cast<std::uint64_t>(distance) << 32 | static_cast<std::uint64_t>(index);
}

// --- rows of keys --------------------------------------------------------------------------------

// Rows of distances; the column is the index.
template <class T>
struct DistanceRows {
  const T* block;
  std::int64_t pitch;

  __device__ std::uint64_t key(std::int64_t row, std::int64_t column) const {
    return distance_key(block[row * pitch + column], column);
  }

  // Calls visit(key) for the columns [begin, end), distributed over the threads; begin is a
  // multiple of kRowAlignment. The last vector may extend past `end`, but not past the pitch.
  template <class Visit>
  __device__ void visit(std::int64_t row, std::int64_t begin, std::int64_t end, Visit visit) const {
    constexpr int kLanes = sizeof(uint4) / sizeof(T);
    const T* values = block + row * pitch;
    for (std::int64_t first = begin + threadIdx.x * kLanes; first < end;
         first += kSelectThreads * kLanes) {
      const uint4 vector = *reinterpret_cast<const uint4*>(values + first);
      T lanes[kLanes];
      std::memcpy(lanes, &vector, sizeof vector);
#pragma unroll
      for (int i = 0; i < kLanes; ++i) {
        if (first + i < end) visit(distance_key(lanes[i], first + i));
      }
    }
  }
};

// Rows of keys from an earlier selection.
struct KeyRows {
  const std::uint64_t* keys;
  std::int64_t pitch;

  __device__ std::uint64_t key(std::int64_t row, std::int64_t column) const {
    return keys[row * pitch + column];
  }

  template <class Visit>
  __device__ void visit(std::int64_t row, std::int64_t begin, std::int64_t end, Visit visit) const {
    for (std::int64_t column = begin + threadIdx.x; column < end; column += kSelectThreads) {
      visit(key(row, column));
    }
  }
};

// Destination of lists of k keys: `keys`, or if that is null, `distances` and `indices`.
struct SelectOutput {
  std::uint64_t* keys;
  std::uint32_t* distances;
  std::int64_t* indices;
  std::int64_t k;

  __device__ void write(std::int64_t list, std::int64_t rank, std::uint64_t key) const {
    const std::int64_t at = list * k + rank;
    if (keys != nullptr) {
      keys[at] = key;
    } else {
      distances[at] = static_cast<std::uint32_t>(key >> 32);
      indices[at] = static_cast<std::int64_t>(key & 0xffffffffu);
    }
  }
};

// --- steps of a thread block ---------------------------------------------------------------------
// All threads of the block must call these with the same arguments.

struct SelectState {
  unsigned num_collected;
  unsigned bin, before, through;  // results of find_bin
  unsigned histogram[kBins];
  unsigned sums[kSelectThreads];
};

// The keys that a thread block selects from.
template <class Rows>
struct Chunk {
  Rows rows;
  std::int64_t row, begin, end;

  __device__ std::int64_t size() const { return end - begin; }
  __device__ std::uint64_t key(std::int64_t i) const { return rows.key(row, begin + i); }
  template <class Visit>
  __device__ void visit(Visit visit) const {
    rows.visit(row, begin, end, visit);
  }
};

// Sorts keys[0, count) in ascending order by a bitonic network over the next power of two, which
// overwrites the keys up to there. Each step begins with a barrier, so the threads may have written
// keys just before.
__device__ inline void sort_keys(std::uint64_t* keys, unsigned count) {
  unsigned size = 1;
  while (size < count) size *= 2;
  for (unsigned i = count + threadIdx.x; i < size; i += kSelectThreads) keys[i] = ~std::uint64_t{0};
  for (unsigned span = 2; span <= size; span *= 2) {
    for (unsigned step = span / 2; step > 0; step /= 2) {
      __syncthreads();
      for (unsigned i = threadIdx.x; i < size / 2; i += kSelectThreads) {
        const unsigned low = 2 * i - (i & (step - 1));  // i with a 0 inserted where `step` has a 1
        const unsigned high = low + step;
        const std::uint64_t a = keys[low], b = keys[high];
        const bool ascending = (low & span) == 0;
        if ((a > b) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

// Returns an upper bound of the `want`-th smallest key from `low` on: that of a sample of evenly
// spaced columns.
template <class Rows>
__device__ std::uint64_t sample_bound(const Chunk<Rows>& chunk, std::uint64_t low,
                                      std::uint64_t max_key, unsigned want, unsigned capacity,
                                      std::uint64_t* keys) {
  const std::int64_t stride = chunk.size() / capacity;
  for (unsigned i = threadIdx.x; i < capacity; i += kSelectThreads) {
    const std::uint64_t key = chunk.key(i * stride);
    keys[i] = key >= low ? key : max_key;
  }
  sort_keys(keys, capacity);
  return keys[want - 1];
}

// Writes the keys in [low, high] to `keys`, in any order, and returns their number; those beyond
// the capacity are only counted.
template <class Rows>
__device__ unsigned collect(const Chunk<Rows>& chunk, std::uint64_t low, std::uint64_t high,
                            unsigned capacity, std::uint64_t* keys, SelectState& state) {
  __syncthreads();  // the keys and their number may still be read
  if (threadIdx.x == 0) state.num_collected = 0;
  __syncthreads();
  chunk.visit([&](std::uint64_t key) {
    if (key < low || key > high) return;
    const unsigned slot = atomicAdd(&state.num_collected, 1u);
    if (slot < capacity) keys[slot] = key;
  });
  __syncthreads();
  return state.num_collected;
}

// Finds the bin of the rank-th (from 1) counted key: sets state.bin, and the numbers of keys before
// it and through it.
__device__ inline void find_bin(unsigned rank, SelectState& state) {
  constexpr int kOwn = kBins / kSelectThreads;
  const int first = static_cast<int>(threadIdx.x) * kOwn;
  unsigned own = 0;
  for (int i = 0; i < kOwn; ++i) own += state.histogram[first + i];
  const unsigned through = inclusive_sum<kSelectThreads>(own, state.sums);
  if (through - own < rank && rank <= through) {
    unsigned before = through - own;
    int bin = first;
    while (before + state.histogram[bin] < rank) before += state.histogram[bin++];
    state.bin = static_cast<unsigned>(bin);
    state.before = before;
    state.through = before + state.histogram[bin];
  }
  __syncthreads();
}

// Lowers `high` until at most `capacity` keys are in [low, high], but not below the `want`-th.
// Each round divides the range that holds the want-th key into kBins bins. Since keys differ, it
// ends at a range of one key at the latest, with want <= capacity keys up to there.
template <class Rows>
__device__ std::uint64_t narrow(const Chunk<Rows>& chunk, std::uint64_t low, std::uint64_t high,
                                std::uint64_t max_key, std::uint32_t last_index, unsigned want,
                                unsigned capacity, SelectState& state) {
  std::uint64_t range_low = low;
  unsigned below = 0;  // keys in [low, range_low)
  for (;;) {
    // Within one distance keys differ by their index alone. Keys at the largest distance stand for
    // no haplotype, and their indices are arbitrary.
    if ((range_low >> 32) == (high >> 32) && (high >> 32) != (max_key >> 32)) {
      const std::uint64_t last = distance_key(static_cast<std::uint32_t>(high >> 32), last_index);
      if (high > last) high = last;
    }
    const int width = 64 - __clzll(static_cast<long long>(high - range_low));
    const int shift = larger(width - kDigitBits, 0);
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kSelectThreads) {
      state.histogram[i] = 0;
    }
    __syncthreads();
    chunk.visit([&](std::uint64_t key) {
      if (key >= range_low && key <= high) {
        atomicAdd(&state.histogram[(key - range_low) >> shift], 1u);
      }
    });
    __syncthreads();
    find_bin(want - below, state);
    range_low += static_cast<std::uint64_t>(state.bin) << shift;
    const std::uint64_t tail = (std::uint64_t{1} << shift) - 1;
    if (high - range_low > tail) high = range_low + tail;
    if (below + state.through <= capacity || shift == 0) return high;
    below += state.before;
  }
}

// --- kernels -------------------------------------------------------------------------------------

// One thread block for each chunk of each row writes its list of k keys to `out`, as list number
// blockIdx.x. A chunk of fewer than k columns is padded with max_key.
template <class Rows>
__global__ void __launch_bounds__(kSelectThreads)
    select_smallest(Rows rows, std::int64_t num_columns, std::int64_t columns_per_chunk,
                    std::int64_t num_chunks, std::int64_t k, unsigned capacity,
                    std::uint64_t max_key, std::uint32_t last_index, SelectOutput out) {
  std::uint64_t* keys = dynamic_shared<std::uint64_t>();
  __shared__ SelectState state;
  const std::int64_t list = blockIdx.x;
  const std::int64_t begin = list % num_chunks * columns_per_chunk;
  const Chunk<Rows> chunk = {rows, list / num_chunks, begin,
                             smaller(num_columns, begin + columns_per_chunk)};
  const std::int64_t take = smaller(k, chunk.size());
  std::uint64_t low = 0;
  for (std::int64_t rank = 0; rank < take; rank += kMaxSlice) {
    const unsigned want = static_cast<unsigned>(smaller(kMaxSlice, take - rank));
    std::uint64_t high = max_key;
    if (chunk.size() > capacity) high = sample_bound(chunk, low, max_key, want, capacity, keys);
    unsigned count = collect(chunk, low, high, capacity, keys, state);
    if (count > capacity) {
      high = narrow(chunk, low, high, max_key, last_index, want, capacity, state);
      count = collect(chunk, low, high, capacity, keys, state);
    }
    sort_keys(keys, smaller(count, capacity));
    for (unsigned i = threadIdx.x; i < want; i += kSelectThreads) {
      out.write(list, rank + i, keys[i]);
    }
    low = keys[want - 1] + 1;
    __syncthreads();  // the next slice overwrites the keys
  }
  for (std::int64_t i = take + threadIdx.x; i < k; i += kSelectThreads) {
    out.write(list, i, max_key);
  }
}

template <class T>
__global__ void exclude_pairs(T* block, std::int64_t pitch, std::int64_t num_columns,
                              const std::int64_t* exclude, std::int64_t num_exclude,
                              std::int64_t num_pairs, T excluded) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= num_pairs) return;
  const std::int64_t column = exclude[i];
  if (column < 0 || column >= num_columns) return;
  block[i / num_exclude * pitch + column] = excluded;
}

// --- host side -----------------------------------------------------------------------------------

// The memory of a search: what for_each_batch needs beside the distances.
template <class T>
struct Selection {
  SelectPlan plan = {};
  T* block = nullptr;       // distances of a batch of queries
  T excluded = 0;           // a value above every distance
  void* partial = nullptr;  // answers of the chunks
  Exclude exclude;
  std::uint32_t* distances = nullptr;  // the answers
  std::int64_t* indices = nullptr;
};

// The workspace from `block` on has the block of distances, then the answers of the chunks.
template <class T>
Selection<T> make_selection(const SelectPlan& plan, char* block, T excluded, const Exclude& exclude,
                            void* distances, std::int64_t* indices) {
  Selection<T> selection;
  selection.plan = plan;
  selection.block = reinterpret_cast<T*>(block);
  selection.excluded = excluded;
  selection.partial = block + plan.block_bytes;
  selection.exclude = exclude;
  selection.distances = static_cast<std::uint32_t*>(distances);
  selection.indices = indices;
  return selection;
}

// Selects from the first num_rows rows of the block, which are the queries from `first` on, after
// overwriting excluded pairs.
template <class T>
void select_rows(const Selection<T>& selection, std::int64_t first, std::int64_t num_rows,
                 cudaStream_t stream) {
  constexpr int kThreads = 256;
  const char* what = "top-k selection";
  const SelectPlan& plan = selection.plan;
  const Exclude exclude = selection.exclude.from(first);
  const std::int64_t num_pairs = num_rows * exclude.num_columns;
  launch("exclusion", exclude_pairs<T>, ceil_divide<std::int64_t>(num_pairs, kThreads), kThreads, 0,
         stream, selection.block, plan.pitch, plan.num_columns, exclude.indices,
         exclude.num_columns, num_pairs, selection.excluded);

  const std::uint64_t max_key = static_cast<std::uint64_t>(selection.excluded) << 32 | 0xffffffffu;
  const auto last_index = static_cast<std::uint32_t>(plan.num_columns - 1);
  const std::int64_t slice = smaller(plan.k, kMaxSlice);
  const bool merge = plan.num_chunks > 1;
  SelectOutput result = {};
  result.distances = selection.distances + first * plan.k;
  result.indices = selection.indices + first * plan.k;
  result.k = plan.k;
  SelectOutput chunks = {};
  chunks.keys = static_cast<std::uint64_t*>(selection.partial);
  chunks.k = plan.k;
  const std::int64_t capacity = choose_capacity(plan.chunk, slice);
  launch(what, select_smallest<DistanceRows<T>>, num_rows * plan.num_chunks, kSelectThreads,
         static_cast<std::size_t>(capacity) * sizeof(std::uint64_t), stream,
         DistanceRows<T>{selection.block, plan.pitch}, plan.num_columns, plan.chunk,
         plan.num_chunks, plan.k, static_cast<unsigned>(capacity), max_key, last_index,
         merge ? chunks : result);
  if (!merge) return;

  const std::int64_t num_keys = plan.num_chunks * plan.k;
  const std::int64_t merge_capacity = choose_capacity(num_keys, slice);
  launch(what, select_smallest<KeyRows>, num_rows, kSelectThreads,
         static_cast<std::size_t>(merge_capacity) * sizeof(std::uint64_t), stream,
         KeyRows{chunks.keys, num_keys}, num_keys, num_keys, std::int64_t{1}, plan.k,
         static_cast<unsigned>(merge_capacity), max_key, last_index, result);
}

// For each batch of queries [first, first + num_rows), calls write_distances(first, num_rows),
// which launches the kernel that fills rows of the block, and selects the k nearest.
template <class T, class WriteDistances>
void for_each_batch(const Selection<T>& selection, std::int64_t num_queries, cudaStream_t stream,
                    WriteDistances write_distances) {
  for (std::int64_t first = 0; first < num_queries; first += selection.plan.batch) {
    const std::int64_t num_rows = smaller(selection.plan.batch, num_queries - first);
    write_distances(first, num_rows);
    select_rows(selection, first, num_rows, stream);
  }
}

}  // namespace snvrag::cuda
