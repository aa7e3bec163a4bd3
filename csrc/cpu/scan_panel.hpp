// The scan that the searches of a HammingIndex share: threads, cancellation and selection.
#pragma once

#include <algorithm>
#include <vector>

#include "kernel_table.hpp"
#include "parallel.hpp"
#include "snvrag/hamming.hpp"
#include "snvrag/topk.hpp"

namespace snvrag {

// Runs `kernel` over all blocks and calls write(place, distance, index) for each place of the
// (num_queries, k) answer. `all_blocks` describes the index and all its blocks; `compacted` are the
// queries' words. Returns false when cancelled.
template <class Write>
bool scan_panel(const HammingScan& all_blocks, const std::vector<std::uint64_t>& compacted,
                const HammingQueries& queries, std::int64_t max_distance, int num_threads,
                CancelFlag cancel, void (*kernel)(const HammingScan&), Write write) {
  if (queries.num_queries == 0) return true;
  const std::int64_t num_blocks = all_blocks.last_block;
  // Each thread takes a part of the panel, not of the queries: each word is read from memory once.
  const auto parts = static_cast<int>(std::min<std::int64_t>(std::max(1, num_threads), num_blocks));
  std::vector<CandidateSet> found;
  found.reserve(static_cast<std::size_t>(parts));
  for (int part = 0; part < parts; ++part) {
    found.emplace_back(queries.num_queries, queries.k, max_distance, queries.exclude);
  }
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  // The flag is read after a part of the panel for some of the queries: about every millisecond, or
  // every tenth of a second at the slowest level with weights.
  constexpr std::int64_t kWordsPerCheck = 1 << 20, kFewestBlocks = 256, kFewestQueries = 8;
  const std::int64_t num_words = all_blocks.num_head_words + all_blocks.num_tail_words;
  const std::int64_t num_together =
      std::clamp(kWordsPerCheck / (kFewestBlocks * num_words), kFewestQueries,
                 std::max(kFewestQueries, queries.num_queries));
  const std::int64_t step = std::max(kFewestBlocks, kWordsPerCheck / (num_together * num_words));
  parallel_ranges(num_blocks, parts, [&](int part, std::int64_t begin, std::int64_t end) {
    Candidates* candidates = found[static_cast<std::size_t>(part)].data();
    for (std::int64_t block = begin; block < end; block += step) {
      for (std::int64_t q = 0; q < queries.num_queries && !cancelled(); q += num_together) {
        HammingScan scan = all_blocks;
        scan.first_block = block;
        scan.last_block = std::min(end, block + step);
        scan.queries = compacted.data() + q * num_words;
        scan.num_queries = std::min(num_together, queries.num_queries - q);
        scan.candidates = candidates + q;
        kernel(scan);
      }
    }
  });
  if (cancelled()) return false;
  take_sorted(found, queries.num_queries, [&](std::int64_t query, const std::uint64_t* keys) {
    for (std::int64_t i = 0; i < queries.k; ++i) {
      write(query * queries.k + i, static_cast<std::uint32_t>(keys[i] >> 32),
            static_cast<std::int64_t>(keys[i] & 0xffffffffu));
    }
  });
  return true;
}

}  // namespace snvrag
