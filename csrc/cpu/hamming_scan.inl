// The scan of a HammingIndex, for Count = BitCount (differences) or WeightSum (their weights); see
// kernels.inl for what a level provides.
//
// A pass over the heads of all haplotypes finds the blocks of eight that may hold a candidate.
// While these are many, the pass continues with further words of all blocks. A few more words of
// the remaining blocks reject most of them, and the rest are counted in full. The passes over many
// blocks have no branch that depends on the data.

namespace snvrag::SNVRAG_LEVEL {
namespace {

// Blocks that one group of queries scans before the next group does: their heads then stay in the
// second-level cache, and if they take at most kScanBytes, their tails do, too.
constexpr std::int64_t kMostBlocks = 1024;
constexpr std::int64_t kFewestBlocks = 64;
constexpr std::int64_t kScanBytes = 512 * 1024;

// Words between two checks of whether a block can still hold a candidate.
constexpr std::int64_t kWordsAtOnce = 2;

// Words between two folds: a level may count in bytes, which hold the counts of 31 words.
constexpr std::int64_t kWordsToFold = 31;

// Most distances from which a query's first threshold is estimated.
constexpr std::int64_t kMostEstimates = 1024;

// If more than one block in this many is left, counting further words of all blocks, with the
// queries in registers, is cheaper than counting them of the blocks left.
constexpr std::int64_t kDenseShare = 3;

// One head in this many is counted to find a limit of the lowest.
constexpr std::int64_t kHeadsPerCounted = 4;

// Lower bounds of the distances from the heads alone, one byte for each haplotype. kMostHead stands
// for itself and all larger numbers.
struct Heads {
  std::int64_t first, last;  // blocks
  std::uint8_t* bytes;

  std::int64_t num_blocks() const { return last - first; }
};

// Adds kWords words of every block to the heads of N queries, or sets the heads (kBegin). Needs no
// threshold, so no branch or latency depends on the data.
template <class Count, int N, int kWords, bool kBegin>
void count_words(const HammingScan& scan, std::int64_t first_query, std::int64_t first_word,
                 const std::uint64_t* words, std::int64_t words_per_block, const Heads* heads) {
  const std::int64_t num_words = scan.num_head_words + scan.num_tail_words;
  Lanes query[N][kWords];
  for (int i = 0; i < N; ++i) {
    for (int w = 0; w < kWords; ++w) {
      query[i][w] = broadcast_lanes(scan.queries[(first_query + i) * num_words + first_word + w]);
    }
  }
  words += heads[0].first * words_per_block * kBlockLanes;
  for (std::int64_t block = 0; block < heads[0].num_blocks(); ++block) {
    Lanes panel[kWords];
    for (int w = 0; w < kWords; ++w) panel[w] = load_lanes(words + w * kBlockLanes);
    for (int i = 0; i < N; ++i) {
      Count count;
      for (int w = 0; w < kWords; ++w) {
        count.add(exclusive_or(panel[w], query[i][w]), scan.tables, first_word + w);
      }
      count.fold();
      count.template store_head<kBegin>(heads[i].bytes + block * kBlockLanes, scan.head_shift);
    }
    words += words_per_block * kBlockLanes;
  }
}

// Adds the next words of the tail; returns how many words of it are then counted.
template <class Count, int N>
std::int64_t count_tail(const HammingScan& scan, std::int64_t first_query, std::int64_t counted,
                        const Heads* heads) {
  const std::int64_t first_word = scan.num_head_words + counted;
  const std::uint64_t* words = scan.tail + counted * kBlockLanes;
  if (counted + 2 <= scan.num_tail_words) {
    count_words<Count, N, 2, false>(scan, first_query, first_word, words, scan.num_tail_words,
                                    heads);
    return counted + 2;
  }
  count_words<Count, N, 1, false>(scan, first_query, first_word, words, scan.num_tail_words, heads);
  return counted + 1;
}

// A limit that slightly more than `wanted` of the heads do not exceed, estimated from a sample.
int likely_limit(const std::uint8_t* bytes, std::int64_t num_blocks, std::int64_t wanted) {
  const std::int64_t step = 8 * kHeadsPerCounted;
  wanted = wanted / kHeadsPerCounted + 4;
  int low = 0, high = kMostHead;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (count_at_most(bytes, num_blocks, step, middle) >= wanted) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Clears the lanes past the last haplotype.
unsigned existing_lanes(unsigned lanes, std::int64_t first, std::int64_t num_haplotypes) {
  if (first + kBlockLanes <= num_haplotypes) return lanes;
  return lanes & ((1u << (num_haplotypes - first)) - 1);
}

// One query's words and the scan's, to count the differences of one block after another.
template <class Count, int kHeadWords>
struct BlockCounter {
  const HammingScan& scan;
  const std::uint64_t* query;

  Count head(std::int64_t block) const {
    const std::uint64_t* words = scan.head + block * kHeadWords * kBlockLanes;
    Count count;
    for (int w = 0; w < kHeadWords; ++w) {
      count.add(exclusive_or(load_lanes(words + w * kBlockLanes), broadcast_lanes(query[w])),
                scan.tables, w);
    }
    count.fold();
    return count;
  }

  void add_tail(Count& count, std::int64_t block, std::int64_t first, std::int64_t last) const {
    const std::uint64_t* words = scan.tail + block * scan.num_tail_words * kBlockLanes;
    while (first < last) {
      const std::int64_t stop = first + kWordsToFold < last ? first + kWordsToFold : last;
      for (; first < stop; ++first) {
        count.add(exclusive_or(load_lanes(words + first * kBlockLanes),
                               broadcast_lanes(query[kHeadWords + first])),
                  scan.tables, kHeadWords + first);
      }
      count.fold();
    }
  }
};

// Estimates a first threshold: the k-th best of the haplotypes that differ least in their heads.
// Without it, most of the panel would pass before the threshold becomes useful.
template <class Count, int kHeadWords>
void estimate_threshold(const BlockCounter<Count, kHeadWords>& counter, Candidates& candidates,
                        const Heads& heads, std::uint32_t* alive) {
  const HammingScan& scan = counter.scan;
  const std::int64_t wanted = candidates.k + candidates.num_exclude;
  // Full blocks only (padding lanes hold no haplotype), eight at a time.
  std::int64_t num_blocks = heads.num_blocks();
  if (heads.last * kBlockLanes > scan.num_haplotypes) --num_blocks;
  num_blocks -= num_blocks % 8;
  if (2 * wanted > kMostEstimates || num_blocks * kBlockLanes < 16 * wanted) return;
  const int limit = likely_limit(heads.bytes, num_blocks, wanted);
  const std::int64_t num_alive = alive_blocks(heads.bytes, num_blocks, limit, alive);
  std::uint32_t estimates[kMostEstimates];
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < num_alive && found < kMostEstimates; ++i) {
    const std::int64_t block = heads.first + alive[i];
    Count count = counter.head(block);
    counter.add_tail(count, block, 0, scan.num_tail_words);
    std::uint32_t distances[kBlockLanes];
    count.store(distances);
    for (std::int64_t lane = 0; lane < kBlockLanes && found < kMostEstimates; ++lane) {
      const std::int64_t place = alive[i] * kBlockLanes + lane;
      if (heads.bytes[place] <= limit &&
          !is_excluded(candidates, heads.first * kBlockLanes + place)) {
        estimates[found++] = distances[lane];
      }
    }
  }
  lower_threshold(candidates, estimates, found);
}

// Keeps the blocks that the first `words` words of the tail do not reject; again without a branch.
template <class Count, int kHeadWords>
std::int64_t filter_blocks(const BlockCounter<Count, kHeadWords>& counter, std::uint32_t threshold,
                           std::int64_t first, std::int64_t words, std::uint32_t* alive,
                           std::int64_t num_alive) {
  const typename Count::Limit limit = Count::make_limit(threshold);
  std::int64_t num_left = 0;
  for (std::int64_t i = 0; i < num_alive; ++i) {
    const std::uint32_t block = alive[i];
    Count count = counter.head(first + block);
    counter.add_tail(count, first + block, 0, words);
    alive[num_left] = block;
    num_left += count.below(limit) != 0;
  }
  return num_left;
}

// Computes the full distances of the remaining blocks, and rejects a block as soon as no lane is
// below the threshold. The first `words` words of the tail have been checked already.
template <class Count, int kHeadWords>
void finish_blocks(const BlockCounter<Count, kHeadWords>& counter, Candidates& candidates,
                   std::int64_t first, std::int64_t words, const std::uint32_t* alive,
                   std::int64_t num_alive) {
  const HammingScan& scan = counter.scan;
  typename Count::Limit limit = Count::make_limit(candidates.threshold);
  for (std::int64_t i = 0; i < num_alive; ++i) {
    const std::int64_t block = first + alive[i];
    Count count = counter.head(block);
    counter.add_tail(count, block, 0, words);
    unsigned below = count.below(limit);
    for (std::int64_t w = words; below != 0 && w < scan.num_tail_words;) {
      const std::int64_t next =
          w + kWordsAtOnce < scan.num_tail_words ? w + kWordsAtOnce : scan.num_tail_words;
      counter.add_tail(count, block, w, next);
      w = next;
      below = count.below(limit);
    }
    below = existing_lanes(below, block * kBlockLanes, scan.num_haplotypes);
    if (below == 0) continue;
    std::uint32_t distances[kBlockLanes];
    count.store(distances);
    append(candidates, below, distances, block * kBlockLanes);
    limit = Count::make_limit(candidates.threshold);
  }
}

template <class Count, int N, int kHeadWords>
void scan_queries(const HammingScan& scan, std::int64_t first_query, std::int64_t first,
                  std::int64_t last) {
  alignas(64) std::uint8_t bytes[N][kMostBlocks * kBlockLanes];
  // A level may write a few entries past the last.
  std::uint32_t alive[N][kMostBlocks + kBlockLanes];
  std::int64_t num_alive[N];
  Heads heads[N];
  for (int i = 0; i < N; ++i) heads[i] = {first, last, bytes[i]};
  const auto counter_of = [&scan, first_query](int i) {
    const std::int64_t num_words = kHeadWords + scan.num_tail_words;
    return BlockCounter<Count, kHeadWords>{scan, scan.queries + (first_query + i) * num_words};
  };
  Candidates* candidates = scan.candidates + first_query;

  count_words<Count, N, kHeadWords, true>(scan, first_query, 0, scan.head, kHeadWords, heads);
  for (int i = 0; i < N; ++i) {
    if (candidates[i].threshold != kNoThreshold) continue;
    estimate_threshold(counter_of(i), candidates[i], heads[i], alive[i]);
  }
  std::int64_t counted = 0;
  for (;;) {
    std::int64_t total = 0;
    for (int i = 0; i < N; ++i) {
      const int limit = Count::head_limit(candidates[i].threshold, scan.head_shift);
      num_alive[i] = alive_blocks(bytes[i], last - first, limit, alive[i]);
      // A head never exceeds kMostHead, so at that limit further words reject nothing.
      if (limit < kMostHead) total += num_alive[i];
    }
    // Many blocks are left where distances are similar: continuing with all is then cheaper.
    if (counted == scan.num_tail_words || kDenseShare * total < N * (last - first)) break;
    counted = count_tail<Count, N>(scan, first_query, counted, heads);
  }
  for (int i = 0; i < N; ++i) {
    std::int64_t words = counted;
    if (counted < scan.num_tail_words) {
      words = counted + kWordsAtOnce < scan.num_tail_words ? counted + kWordsAtOnce
                                                           : scan.num_tail_words;
      num_alive[i] = filter_blocks(counter_of(i), candidates[i].threshold, first, words, alive[i],
                                   num_alive[i]);
    }
    finish_blocks(counter_of(i), candidates[i], first, words, alive[i], num_alive[i]);
  }
}

template <class Count, int kHeadWords>
void scan_with_heads(const HammingScan& scan) {
  std::int64_t blocks = kScanBytes / (64 * (kHeadWords + scan.num_tail_words));
  blocks = blocks < kFewestBlocks ? kFewestBlocks : blocks < kMostBlocks ? blocks : kMostBlocks;
  for (std::int64_t first = scan.first_block; first < scan.last_block; first += blocks) {
    const std::int64_t last = first + blocks < scan.last_block ? first + blocks : scan.last_block;
    std::int64_t query = 0;
    for (; query + kQueryTile <= scan.num_queries; query += kQueryTile) {
      scan_queries<Count, kQueryTile, kHeadWords>(scan, query, first, last);
    }
    for (; query < scan.num_queries; ++query) {
      scan_queries<Count, 1, kHeadWords>(scan, query, first, last);
    }
  }
}

template <class Count>
void scan_blocks(const HammingScan& scan) {
  if (scan.num_head_words == 1) {
    scan_with_heads<Count, 1>(scan);
  } else {
    scan_with_heads<Count, kMostHeadWords>(scan);
  }
}

void hamming_scan(const HammingScan& scan) { scan_blocks<BitCount>(scan); }

void weighted_scan(const HammingScan& scan) { scan_blocks<WeightSum>(scan); }

constexpr int kHalfGroups = (32 + kGroupBits - 1) / kGroupBits;

// Tabulates, for kGroupBits sites at a time, the sum of weights of each pattern of differences. The
// tables of the two halves of a word alternate.
void weight_tables(const std::int32_t* weights, std::int64_t num_words, std::int32_t* tables) {
  for (std::int64_t half = 0; half < 2 * num_words; ++half) {
    for (int group = 0; group < kHalfGroups; ++group) {
      std::int32_t* table =
          tables + (half / 2) * kWordTable + ((2 * group + half % 2) << kGroupBits);
      table[0] = 0;
      for (int i = 0; i < kGroupBits; ++i) {
        const int site = kGroupBits * group + i;
        const std::int32_t weight = site < 32 ? weights[32 * half + site] : 0;
        for (int pattern = 0; pattern < 1 << i; ++pattern) {
          table[pattern + (1 << i)] = table[pattern] + weight;
        }
      }
    }
  }
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
