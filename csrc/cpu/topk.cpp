#include "snvrag/topk.hpp"

#include <algorithm>
#include <cstddef>

namespace snvrag {
namespace {

// More counts than these would not stay in the first-level cache.
constexpr std::int64_t kMostCounts = 4096;

// Stands for a neighbour that does not exist.
constexpr std::uint64_t kNoKey = ~std::uint64_t{0};

std::uint32_t distance_of(std::uint64_t key) { return static_cast<std::uint32_t>(key >> 32); }

// Counts one more candidate at `distance` and lowers the threshold to that of the k-th best.
inline void count(Candidates& candidates, std::uint32_t distance) {
  ++candidates.counts[distance];
  const std::int64_t k = candidates.k;
  if (++candidates.num_below <= k) candidates.limit = std::max(candidates.limit, distance + 1);
  if (candidates.num_below < k) return;
  while (candidates.num_below - candidates.counts[candidates.limit - 1] >= k) {
    candidates.num_below -= candidates.counts[--candidates.limit];
  }
  candidates.threshold = std::min(candidates.threshold, candidates.limit - 1);
}

// Drops candidates that can no longer be among the k smallest. With counts, the keys stay in order
// (ascending indices), and fewer than 2 k are left, because the threshold falls to a distance once
// it has k candidates.
void drop(Candidates& candidates) {
  std::uint64_t* end = candidates.keys + candidates.size;
  if (candidates.counts != nullptr) {
    if (candidates.num_below >= candidates.k) {
      end = std::remove_if(candidates.keys, end,
                           [&](std::uint64_t key) { return distance_of(key) >= candidates.limit; });
    }
  } else if (candidates.size >= candidates.k) {
    std::nth_element(candidates.keys, candidates.keys + (candidates.k - 1), end);
    end = candidates.keys + candidates.k;
    candidates.threshold = distance_of(end[-1]);
  }
  candidates.size = end - candidates.keys;
}

}  // namespace

bool is_excluded(const Candidates& candidates, std::int64_t haplotype) {
  const std::int64_t* last = candidates.exclude + candidates.num_exclude;
  return std::find(candidates.exclude, last, haplotype) != last;
}

void lower_threshold(Candidates& candidates, std::uint32_t* distances, std::int64_t num_distances) {
  if (num_distances < candidates.k) return;
  std::uint32_t* kth = distances + candidates.k - 1;
  std::nth_element(distances, kth, distances + num_distances);
  // One above the k-th distance: among the haplotypes at that distance, the index decides.
  candidates.threshold = std::min(candidates.threshold, *kth + 1);
}

void append(Candidates& candidates, unsigned lanes, const std::uint32_t* distances,
            std::int64_t first) {
  for (; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    const std::uint32_t distance = distances[lane];
    if (distance >= candidates.threshold) continue;
    if (candidates.num_exclude > 0 && is_excluded(candidates, first + lane)) continue;
    candidates.keys[candidates.size++] =
        pack_key(distance, static_cast<std::uint32_t>(first + lane));
    if (candidates.counts != nullptr) count(candidates, distance);
  }
  if (candidates.size + CandidateSet::kBurst > candidates.capacity) drop(candidates);
}

CandidateSet::CandidateSet(std::int64_t num_queries, std::int64_t k, std::int64_t max_distance,
                           const Exclude& exclude) {
  // Room for k more than drop() leaves: its cost for each candidate is then constant.
  const std::int64_t capacity = 3 * k + 2 * kBurst;
  const bool counted = max_distance >= 0 && max_distance < kMostCounts;
  const std::int64_t num_counts = counted ? max_distance + 1 : 0;
  keys_.reset(new std::uint64_t[static_cast<std::size_t>(num_queries * capacity)]);
  counts_.resize(static_cast<std::size_t>(num_queries * num_counts));
  sorted_.resize(static_cast<std::size_t>(2 * k));
  queries_.reserve(static_cast<std::size_t>(num_queries));
  for (std::int64_t query = 0; query < num_queries; ++query) {
    Candidates candidates;
    candidates.keys = keys_.get() + query * capacity;
    candidates.capacity = capacity;
    candidates.k = static_cast<std::uint32_t>(k);
    candidates.exclude = exclude.from(query).indices;
    candidates.num_exclude = exclude.num_columns;
    if (counted) candidates.counts = counts_.data() + query * num_counts;
    queries_.push_back(candidates);
  }
}

void CandidateSet::merge(CandidateSet& other) {
  for (std::size_t query = 0; query < queries_.size(); ++query) {
    Candidates& mine = queries_[query];
    Candidates& theirs = other.queries_[query];
    drop(mine);
    drop(theirs);
    // Without counts at most k of each are left, in no order: there is room for both, so nothing is
    // dropped before all of the other set's are appended.
    for (std::int64_t i = 0; i < theirs.size; ++i) {
      const std::uint32_t distance = distance_of(theirs.keys[i]);
      append(mine, 1, &distance, static_cast<std::int64_t>(theirs.keys[i] & 0xffffffffu));
    }
  }
}

const std::uint64_t* CandidateSet::sorted(std::int64_t query) {
  Candidates& mine = queries_[static_cast<std::size_t>(query)];
  drop(mine);
  const auto k = static_cast<std::int64_t>(mine.k);
  if (mine.counts == nullptr) {
    std::sort(mine.keys, mine.keys + mine.size);
    if (mine.size < k) std::fill(mine.keys + mine.size, mine.keys + k, kNoKey);
    return mine.keys;
  }
  // The keys ascend by index, so counting by distance sorts them by both.
  std::uint32_t place = 0;
  for (std::uint32_t distance = 0; distance < mine.limit; ++distance) {
    const std::uint32_t here = mine.counts[distance];
    mine.counts[distance] = place;
    place += here;
  }
  for (std::int64_t i = 0; i < mine.size; ++i) {
    sorted_[mine.counts[distance_of(mine.keys[i])]++] = mine.keys[i];
  }
  if (mine.size < k) std::fill(sorted_.begin() + mine.size, sorted_.begin() + k, kNoKey);
  return sorted_.data();
}

}  // namespace snvrag
