#include "snvrag/hamming.hpp"

#include <algorithm>
#include <memory>

#include "kernel_table.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kLanes = HammingIndex::kLanes;

// Haplotype blocks scanned between two looks at the cancel flag: some tens of milliseconds.
constexpr std::int64_t kBlocksBetweenLooks = 1 << 14;

std::vector<CompactWord> compact_words(const std::vector<std::uint64_t>& keep) {
  std::vector<CompactWord> words(keep.size());
  for (std::size_t w = 0; w < keep.size(); ++w) {
    words[w].keep = keep[w];
    words[w].num_kept = __builtin_popcountll(keep[w]);
    // Warren, Hacker's Delight, 7-4: which bits move right by 1, 2, 4, ... to close the gaps.
    std::uint64_t bits = keep[w], zeros_to_right = ~bits << 1;
    for (int step = 0; step < 6; ++step) {
      std::uint64_t parity = zeros_to_right;
      for (int shift = 1; shift < 64; shift *= 2) parity ^= parity << shift;
      const std::uint64_t moving = parity & bits;
      words[w].move[step] = moving;
      bits = (bits ^ moving) | (moving >> (1 << step));
      zeros_to_right &= ~parity;
    }
  }
  return words;
}

}  // namespace

HammingIndex::HammingIndex(std::int64_t num_haplotypes, std::int64_t num_sites,
                           const std::uint8_t* observed)
    : num_haplotypes_(num_haplotypes), num_sites_(num_sites) {
  observed_.assign(static_cast<std::size_t>(num_words(num_sites)), 0);
  for (std::int64_t site = 0; site < num_sites; ++site) {
    if (observed != nullptr && observed[site] == 0) continue;
    observed_[static_cast<std::size_t>(site / 64)] |= std::uint64_t{1} << (site % 64);
    ++num_observed_;
  }
  num_observed_words_ = num_words(num_observed_);
  const std::int64_t blocks = (num_haplotypes + kLanes - 1) / kLanes;
  const auto size = static_cast<std::size_t>(blocks * num_observed_words_ * kLanes);
  storage_.resize(size + kLanes);
  void* start = storage_.data();
  std::size_t space = storage_.size() * sizeof(std::uint64_t);
  words_ = static_cast<std::uint64_t*>(std::align(64, size * sizeof(std::uint64_t), start, space));
}

HammingIndex HammingIndex::from_haplotypes(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                           std::int64_t num_sites, std::int64_t row_stride,
                                           const std::uint8_t* observed) {
  HammingIndex index(num_haplotypes, num_sites, observed);
  const std::vector<CompactWord> words = compact_words(index.observed_);
  const KernelTable& table = kernels();
  const std::int64_t compacted = index.num_observed_words_;
  std::vector<std::uint64_t> row(static_cast<std::size_t>(compacted));
  for (std::int64_t h = 0; h < num_haplotypes; ++h) {
    std::fill(row.begin(), row.end(), 0);
    table.compact_row(bits + h * row_stride, words.data(), static_cast<std::int64_t>(words.size()),
                      row.data());
    std::uint64_t* out = index.words_ + (h / kLanes) * compacted * kLanes + h % kLanes;
    for (std::int64_t w = 0; w < compacted; ++w) {
      out[w * kLanes] = row[static_cast<std::size_t>(w)];
    }
  }
  return index;
}

HammingIndex HammingIndex::from_sites(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                      std::int64_t num_sites, std::int64_t row_stride,
                                      const std::uint8_t* observed) {
  HammingIndex index(num_haplotypes, num_sites, observed);
  std::vector<std::int64_t> sites;
  sites.reserve(static_cast<std::size_t>(index.num_observed_));
  for (std::int64_t site = 0; site < num_sites; ++site) {
    if (observed == nullptr || observed[site] != 0) sites.push_back(site);
  }
  const KernelTable& table = kernels();
  const std::int64_t compacted = index.num_observed_words_;
  const std::int64_t blocks = (num_haplotypes + kLanes - 1) / kLanes;
  for (std::int64_t w = 0; w < compacted; ++w) {
    const std::int64_t* rows = sites.data() + 64 * w;
    const std::int64_t num_rows = std::min<std::int64_t>(64, index.num_observed_ - 64 * w);
    for (std::int64_t column = 0; column < num_words(num_haplotypes); ++column) {
      std::uint64_t tile[64] = {};
      for (std::int64_t i = 0; i < num_rows; ++i) tile[i] = bits[rows[i] * row_stride + column];
      table.transpose64(tile);
      const std::int64_t groups = std::min<std::int64_t>(8, blocks - 8 * column);
      for (std::int64_t group = 0; group < groups; ++group) {
        std::copy(tile + kLanes * group, tile + kLanes * (group + 1),
                  index.words_ + ((8 * column + group) * compacted + w) * kLanes);
      }
    }
  }
  return index;
}

bool HammingIndex::search(const std::uint64_t* queries, std::int64_t num_queries,
                          std::int64_t row_stride, std::int64_t k, const std::int64_t* exclude,
                          std::int64_t num_exclude, int num_threads, std::int32_t* distances,
                          std::int64_t* indices, CancelFlag cancel) const {
  if (num_queries == 0) return true;
  const KernelTable& table = kernels();
  const std::vector<CompactWord> words = compact_words(observed_);
  std::vector<std::uint64_t> compacted(static_cast<std::size_t>(num_queries * num_observed_words_));
  for (std::int64_t q = 0; q < num_queries; ++q) {
    table.compact_row(queries + q * row_stride, words.data(),
                      static_cast<std::int64_t>(words.size()),
                      compacted.data() + q * num_observed_words_);
  }

  // Threads share out the panel, not the queries: each word is then read from memory once.
  const std::int64_t blocks = (num_haplotypes_ + kLanes - 1) / kLanes;
  const int parts = static_cast<int>(std::min<std::int64_t>(std::max(1, num_threads), blocks));
  std::vector<CandidateSet> found;
  found.reserve(static_cast<std::size_t>(parts));
  for (int part = 0; part < parts; ++part) {
    found.emplace_back(num_queries, k, kLanes, exclude, num_exclude);
  }
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  parallel_ranges(blocks, parts, [&](int part, std::int64_t begin, std::int64_t end) {
    const std::int64_t step = std::max<std::int64_t>(64, kBlocksBetweenLooks / num_queries);
    for (std::int64_t block = begin; block < end && !cancelled(); block += step) {
      table.hamming_scan({words_, num_observed_words_, num_haplotypes_, block,
                          std::min(end, block + step), compacted.data(), num_queries,
                          found[static_cast<std::size_t>(part)].data()});
    }
  });
  if (cancelled()) return false;

  for (int part = 1; part < parts; ++part) found[0].merge(found[static_cast<std::size_t>(part)]);
  for (std::int64_t q = 0; q < num_queries; ++q) {
    const std::uint64_t* keys = found[0].sorted(q);
    for (std::int64_t i = 0; i < k; ++i) {
      distances[q * k + i] = static_cast<std::int32_t>(keys[i] >> 32);
      indices[q * k + i] = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
    }
  }
  return true;
}

std::int64_t HammingIndex::num_bytes() const {
  return static_cast<std::int64_t>((storage_.size() + observed_.size()) * sizeof(std::uint64_t));
}

}  // namespace snvrag
