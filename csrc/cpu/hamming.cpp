#include "snvrag/hamming.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "kernel_table.hpp"
#include "scan_panel.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kLanes = HammingIndex::kLanes;
static_assert(kLanes == kBlockLanes);

// Most haplotypes, spread evenly over the panel, whose alleles are counted to order the sites.
constexpr std::int64_t kCounted = 255;

std::vector<std::int64_t> observed_sites(std::int64_t num_sites, const std::uint8_t* observed) {
  std::vector<std::int64_t> sites;
  sites.reserve(static_cast<std::size_t>(num_sites));
  for (std::int64_t site = 0; site < num_sites; ++site) {
    if (observed == nullptr || observed[site] != 0) sites.push_back(site);
  }
  return sites;
}

// Sorts sites by descending minor allele count, equal counts by index. `alt_count(site)` counts
// the ALT alleles of `num_counted` haplotypes.
template <class AltCount>
std::vector<std::int64_t> commonest_first(const std::vector<std::int64_t>& sites,
                                          std::int64_t num_counted, AltCount alt_count) {
  std::vector<std::int64_t> rank(sites.size());
  std::vector<std::size_t> start(static_cast<std::size_t>(num_counted / 2 + 2));
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const std::int64_t alt = alt_count(sites[i]);
    rank[i] = num_counted / 2 - std::min(alt, num_counted - alt);
    ++start[static_cast<std::size_t>(rank[i] + 1)];
  }
  for (std::size_t r = 1; r < start.size(); ++r) start[r] += start[r - 1];
  std::vector<std::int64_t> order(sites.size());
  for (std::size_t i = 0; i < sites.size(); ++i) {
    order[start[static_cast<std::size_t>(rank[i])]++] = sites[i];
  }
  return order;
}

// Counts of ALT alleles at each site, for up to 255 rows of haplotypes: eight bit planes, to which
// each row is added with carries.
class AltCounts {
 public:
  explicit AltCounts(std::int64_t num_words)
      : num_words_(num_words), planes_(static_cast<std::size_t>(8 * num_words)) {}

  void add(const std::uint64_t* row) {
    for (std::int64_t w = 0; w < num_words_; ++w) {
      std::uint64_t carry = row[w];
      for (std::int64_t plane = 0; plane < 8; ++plane) {
        std::uint64_t& bits = planes_[static_cast<std::size_t>(plane * num_words_ + w)];
        const std::uint64_t both = bits & carry;
        bits ^= carry;
        carry = both;
      }
    }
  }

  std::int64_t at(std::int64_t site) const {
    std::uint64_t count = 0;
    for (std::int64_t plane = 0; plane < 8; ++plane) {
      const std::uint64_t bits = planes_[static_cast<std::size_t>(plane * num_words_ + site / 64)];
      count |= (bits >> (site % 64) & 1) << plane;
    }
    return static_cast<std::int64_t>(count);
  }

 private:
  std::int64_t num_words_;
  std::vector<std::uint64_t> planes_;
};

// Transposes up to 64 rows of haplotypes to rows of sites, one word each. Words without an observed
// site are left out.
class SiteRows {
 public:
  SiteRows(const std::vector<std::int64_t>& observed, std::int64_t num_sites)
      : sites_(static_cast<std::size_t>(64 * num_words(num_sites))) {
    std::vector<char> used(static_cast<std::size_t>(num_words(num_sites)));
    for (const std::int64_t site : observed) used[static_cast<std::size_t>(site / 64)] = 1;
    for (std::int64_t w = 0; w < num_words(num_sites); ++w) {
      if (used[static_cast<std::size_t>(w)] != 0) used_.push_back(w);
    }
  }

  const std::uint64_t* transpose(const KernelTable& table, const std::uint64_t* rows,
                                 std::int64_t num_rows, std::int64_t row_stride) {
    if (num_rows < 64) std::fill(sites_.begin(), sites_.end(), 0);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      const std::uint64_t* row = rows + i * row_stride;
      for (const std::int64_t w : used_) sites_[static_cast<std::size_t>(64 * w + i)] = row[w];
    }
    for (const std::int64_t w : used_) table.transpose64(sites_.data() + 64 * w);
    return sites_.data();
  }

 private:
  std::vector<std::uint64_t> sites_;  // 64 words for each word of a row
  std::vector<std::int64_t> used_;
};

}  // namespace

HammingIndex::HammingIndex(std::int64_t num_haplotypes, std::int64_t num_sites,
                           std::vector<std::int64_t> order)
    : num_haplotypes_(num_haplotypes), num_sites_(num_sites), order_(std::move(order)) {
  // Without an observed site there is one word of zeros, so that scans need no special case.
  const std::int64_t words = std::max<std::int64_t>(1, num_words(num_observed()));
  num_head_words_ = std::min(words, kMostHeadWords);
  num_tail_words_ = words - num_head_words_;
  const auto size = static_cast<std::size_t>(num_blocks() * words * kLanes);
  num_stored_ = static_cast<std::int64_t>(size) + kLanes;
  storage_.reset(new std::uint64_t[size + kLanes]);  // not cleared: every block is written
  void* start = storage_.get();
  std::size_t space = (size + kLanes) * sizeof(std::uint64_t);
  head_ = static_cast<std::uint64_t*>(std::align(64, size * sizeof(std::uint64_t), start, space));
  if (num_observed() == 0) std::fill(head_, head_ + size, 0);
  tail_ = head_ + num_blocks() * num_head_words_ * kLanes;
}

std::uint64_t* HammingIndex::block_word(std::int64_t block, std::int64_t word) const {
  return word < num_head_words_
             ? head_ + (block * num_head_words_ + word) * kLanes
             : tail_ + (block * num_tail_words_ + word - num_head_words_) * kLanes;
}

// Gathers the words of 64 observed sites from rank `first` on, zeros past the last; `rows` has one
// word for each site.
void HammingIndex::take_sites(const std::uint64_t* rows, std::int64_t first,
                              std::uint64_t* tile) const {
  const std::int64_t* order = order_.data() + first;
  const std::int64_t count = std::min<std::int64_t>(64, num_observed() - first);
  for (std::int64_t i = 0; i < count; ++i) tile[i] = rows[order[i]];
  std::fill(tile + count, tile + 64, 0);
}

// Writes one word of 64 haplotypes, which eight blocks have.
void HammingIndex::write_blocks(std::int64_t first_block, std::int64_t word,
                                const std::uint64_t* tile) {
  const std::int64_t blocks = std::min<std::int64_t>(64 / kLanes, num_blocks() - first_block);
  for (std::int64_t block = 0; block < blocks; ++block) {
    // A copy of constant size is a few instructions.
    std::memcpy(block_word(first_block + block, word), tile + kLanes * block, 8 * kLanes);
  }
}

HammingIndex HammingIndex::from_haplotypes(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                           std::int64_t num_sites, std::int64_t row_stride,
                                           const std::uint8_t* observed) {
  const KernelTable& table = kernels();
  const std::vector<std::int64_t> sites = observed_sites(num_sites, observed);
  SiteRows site_rows(sites, num_sites);
  const auto rows_of_sites = [&](std::int64_t group) {
    return site_rows.transpose(table, bits + 64 * group * row_stride,
                               std::min<std::int64_t>(64, num_haplotypes - 64 * group), row_stride);
  };

  AltCounts counts(num_words(num_sites));
  const std::int64_t step = (num_haplotypes + kCounted - 1) / kCounted;
  for (std::int64_t h = 0; h < num_haplotypes; h += step) counts.add(bits + h * row_stride);
  HammingIndex index(num_haplotypes, num_sites,
                     commonest_first(sites, (num_haplotypes - 1) / step + 1,
                                     [&](std::int64_t site) { return counts.at(site); }));

  const std::int64_t num_groups = num_words(num_haplotypes);
  for (std::int64_t group = 0; group < num_groups; ++group) {
    const std::uint64_t* rows = rows_of_sites(group);
    for (std::int64_t first = 0; first < index.num_observed(); first += 64) {
      std::uint64_t tile[64];
      index.take_sites(rows, first, tile);
      table.transpose64(tile);
      index.write_blocks(64 / kLanes * group, first / 64, tile);
    }
  }
  return index;
}

HammingIndex HammingIndex::from_sites(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                      std::int64_t num_sites, std::int64_t row_stride,
                                      const std::uint8_t* observed) {
  const KernelTable& table = kernels();
  const std::int64_t columns = num_words(num_haplotypes);
  const std::int64_t step = (64 * columns + kCounted - 1) / kCounted;
  HammingIndex index(num_haplotypes, num_sites,
                     commonest_first(observed_sites(num_sites, observed),
                                     64 * ((columns - 1) / step + 1), [&](std::int64_t site) {
                                       return table.count_ones(bits + site * row_stride, columns,
                                                               step);
                                     }));

  for (std::int64_t first = 0; first < index.num_observed(); first += 64) {
    const std::int64_t* order = index.order_.data() + first;
    const std::int64_t count = std::min<std::int64_t>(64, index.num_observed() - first);
    const std::uint64_t* rows[64];
    for (std::int64_t i = 0; i < count; ++i) rows[i] = bits + order[i] * row_stride;
    for (std::int64_t column = 0; column < columns; column += kTileColumns) {
      const std::int64_t num_columns = std::min<std::int64_t>(kTileColumns, columns - column);
      std::uint64_t tiles[kTileColumns][64];
      table.transpose_tiles(rows, count, column, (1u << num_columns) - 1, tiles);
      for (std::int64_t c = 0; c < num_columns; ++c) {
        index.write_blocks(64 / kLanes * (column + c), first / 64, tiles[c]);
      }
    }
  }
  return index;
}

// Compacts the queries to the observed sites, in the order of the index: (num_queries,
// num_index_words()).
std::vector<std::uint64_t> HammingIndex::compact(const HammingQueries& queries) const {
  const KernelTable& table = kernels();
  SiteRows site_rows(order_, num_sites_);
  const std::int64_t words = num_index_words();
  std::vector<std::uint64_t> compacted(static_cast<std::size_t>(queries.num_queries * words));
  for (std::int64_t query = 0; query < queries.num_queries; query += 64) {
    const std::int64_t num_rows = std::min<std::int64_t>(64, queries.num_queries - query);
    const std::uint64_t* rows = site_rows.transpose(
        table, queries.bits + query * queries.row_stride, num_rows, queries.row_stride);
    for (std::int64_t first = 0; first < num_observed(); first += 64) {
      std::uint64_t tile[64];
      take_sites(rows, first, tile);
      table.transpose64(tile);
      for (std::int64_t i = 0; i < num_rows; ++i) {
        compacted[static_cast<std::size_t>((query + i) * words + first / 64)] = tile[i];
      }
    }
  }
  return compacted;
}

HammingScan HammingIndex::scan_of_all_blocks(const std::int32_t* tables, int head_shift) const {
  HammingScan scan = {};
  scan.head = head_;
  scan.tail = tail_;
  scan.num_head_words = num_head_words_;
  scan.num_tail_words = num_tail_words_;
  scan.num_haplotypes = num_haplotypes_;
  scan.last_block = num_blocks();
  scan.tables = tables;
  scan.head_shift = head_shift;
  return scan;
}

bool HammingIndex::search(const HammingQueries& queries, int num_threads, std::int32_t* distances,
                          std::int64_t* indices, CancelFlag cancel) const {
  return scan_panel(scan_of_all_blocks(nullptr, 0), compact(queries), queries, num_observed(),
                    num_threads, cancel, kernels().hamming_scan,
                    [&](std::int64_t place, std::uint32_t distance, std::int64_t index) {
                      distances[place] = static_cast<std::int32_t>(distance);
                      indices[place] = index;
                    });
}

bool HammingIndex::search_weighted(const HammingQueries& queries, const float* weights,
                                   int num_threads, float* distances, std::int64_t* indices,
                                   CancelFlag cancel) const {
  // Summed in the order of the sites: the order of the index depends on estimated frequencies.
  std::vector<std::int64_t> ascending = order_;
  std::sort(ascending.begin(), ascending.end());
  double total = 0;
  bool valid = true;
  for (const std::int64_t site : ascending) {
    total += static_cast<double>(weights[site]);
    valid = valid && weights[site] >= 0;
  }
  valid = valid && total <= static_cast<double>(std::numeric_limits<float>::max());
  // Sums of integer weights are below 2^31, and the scaled sums normal float32 numbers.
  const int exponent = valid && total > 0 ? std::min(29 - std::ilogb(total), 126) : 0;
  const KernelTable& table = kernels();
  std::vector<std::int32_t> integers(static_cast<std::size_t>(64 * num_index_words()));
  for (std::size_t i = 0; valid && i < order_.size(); ++i) {
    const double weight = static_cast<double>(weights[order_[i]]);
    integers[i] = static_cast<std::int32_t>(std::nearbyint(std::ldexp(weight, exponent)));
  }
  std::vector<std::int32_t> tables(static_cast<std::size_t>(table.word_table * num_index_words()));
  table.weight_tables(integers.data(), num_index_words(), tables.data());
  std::int64_t head = 0;
  for (std::int64_t i = 0; i < 64 * num_head_words_; ++i) {
    head += integers[static_cast<std::size_t>(i)];
  }
  int head_shift = 0;
  while (head >> head_shift > kScaledHead) ++head_shift;
  constexpr std::int64_t kNoInteger = -1;
  return scan_panel(scan_of_all_blocks(tables.data(), head_shift), compact(queries), queries,
                    kNoInteger, num_threads, cancel, table.weighted_scan,
                    [&](std::int64_t place, std::uint32_t distance, std::int64_t index) {
                      const float sum = valid ? key_float(distance) : std::nanf("");
                      distances[place] = std::ldexp(sum, -exponent);
                      indices[place] = index;
                    });
}

std::int64_t HammingIndex::num_bytes() const {
  return (num_stored_ + num_observed()) * static_cast<std::int64_t>(sizeof(std::uint64_t));
}

}  // namespace snvrag
