#include "snvrag/topk.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace snvrag {

void flush(Candidates& candidates) {
  std::uint64_t* end = candidates.keys + candidates.size;
  if (candidates.num_exclude > 0) {
    const std::int64_t* first = candidates.exclude;
    const std::int64_t* last = first + candidates.num_exclude;
    end = std::remove_if(candidates.keys, end, [=](std::uint64_t key) {
      return std::find(first, last, static_cast<std::int64_t>(key & 0xffffffffu)) != last;
    });
  }
  const std::ptrdiff_t k = candidates.k;
  if (end - candidates.keys >= k) {
    std::nth_element(candidates.keys, candidates.keys + (k - 1), end);
    end = candidates.keys + k;
    candidates.threshold = static_cast<std::uint32_t>(candidates.keys[k - 1] >> 32);
  }
  candidates.size = end - candidates.keys;
}

CandidateSet::CandidateSet(std::int64_t num_queries, std::int64_t k, std::int64_t burst,
                           const std::int64_t* exclude, std::int64_t num_exclude) {
  // Twice k keeps the selection's cost per candidate constant.
  const std::int64_t capacity = std::max(2 * k, k + 32) + num_exclude + burst;
  keys_.resize(static_cast<std::size_t>(num_queries * capacity));
  queries_.reserve(static_cast<std::size_t>(num_queries));
  for (std::int64_t query = 0; query < num_queries; ++query) {
    queries_.push_back({keys_.data() + query * capacity, 0, capacity,
                        std::numeric_limits<std::uint32_t>::max(), static_cast<std::uint32_t>(k),
                        exclude + query * num_exclude, num_exclude});
  }
}

void CandidateSet::merge(CandidateSet& other) {
  for (std::size_t query = 0; query < queries_.size(); ++query) {
    Candidates& mine = queries_[query];
    Candidates& theirs = other.queries_[query];
    flush(mine);
    flush(theirs);
    std::copy(theirs.keys, theirs.keys + theirs.size, mine.keys + mine.size);
    mine.size += theirs.size;
  }
}

const std::uint64_t* CandidateSet::sorted(std::int64_t query) {
  Candidates& mine = queries_[static_cast<std::size_t>(query)];
  flush(mine);
  std::sort(mine.keys, mine.keys + mine.size);
  return mine.keys;
}

}  // namespace snvrag
