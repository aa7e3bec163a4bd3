#include "snvrag/states.hpp"

#include <algorithm>

#include "parallel.hpp"
#include "positional_order.hpp"
#include "snvrag/bits.hpp"
#include "snvrag/packing.hpp"

namespace snvrag {
namespace {

bool is_set(CancelFlag cancel) {
  return cancel != nullptr && cancel->load(std::memory_order_relaxed);
}

// The blocks, and for each the blocks in which a choice made at its middle site holds. Both ends
// ascend from block to block, whatever the positions are.
struct Blocks {
  Blocks(const StatesPanel& panel, const StatesOptions& options) {
    for (std::int64_t s = 0; s < panel.num_sites; ++s) {
      if (panel.observed[s] != 0) sites.push_back(s);
    }
    for (std::int64_t start = 0; start == 0 || start < num_observed(); start += options.step) {
      starts.push_back(start);
      middles.push_back(start + std::min(options.step, num_observed() - start) / 2);
    }
    std::int64_t first = 0, last = 0;
    for (std::int64_t b = 0; b < num_blocks() && num_observed() > 0; ++b) {
      const double middle = position_cm(panel, middles[static_cast<std::size_t>(b)]);
      while (first < b && !(position_cm(panel, stop(first) - 1) >= middle - options.within_cm)) {
        ++first;
      }
      while (last + 1 < num_blocks() &&
             position_cm(panel, stop(last) /* the next start */) <= middle + options.within_cm) {
        ++last;
      }
      firsts.push_back(std::min(first, std::max<std::int64_t>(0, b - 1)));
      lasts.push_back(std::max(last, std::min(num_blocks() - 1, b + 1)));
    }
  }

  std::int64_t num_observed() const { return static_cast<std::int64_t>(sites.size()); }
  std::int64_t num_blocks() const { return static_cast<std::int64_t>(starts.size()); }

  std::vector<std::int64_t> sites;            // the observed ones
  std::vector<std::int64_t> starts, middles;  // ranks among them
  std::vector<std::int64_t> firsts, lasts;    // blocks; none without an observed site

 private:
  std::int64_t stop(std::int64_t b) const {
    return b + 1 < num_blocks() ? starts[static_cast<std::size_t>(b + 1)] : num_observed();
  }
  double position_cm(const StatesPanel& panel, std::int64_t rank) const {
    return panel.position_cm[sites[static_cast<std::size_t>(rank)]];
  }
};

// The excluded haplotypes of each query, in order, each once.
class Excluded {
 public:
  Excluded(const LiStephensQueries& queries, std::int64_t num_haplotypes)
      : columns_(queries.exclude.num_columns),
        indices_(queries.exclude.indices,
                 queries.exclude.indices + queries.num_queries * queries.exclude.num_columns) {
    for (std::int64_t query = 0; query < queries.num_queries; ++query) {
      const auto begin = indices_.begin() + query * columns_, end = begin + columns_;
      const auto outside = [=](std::int64_t h) { return h < 0 || h >= num_haplotypes; };
      const auto kept = std::remove_if(begin, end, outside);
      std::sort(begin, kept);
      counts_.push_back(std::unique(begin, kept) - begin);
    }
  }

  std::int64_t count(std::int64_t query) const { return counts_[static_cast<std::size_t>(query)]; }
  bool has(std::int64_t query, std::int64_t haplotype) const {
    const std::int64_t* begin = indices_.data() + query * columns_;
    return std::binary_search(begin, begin + count(query), haplotype);
  }

 private:
  std::int64_t columns_;
  std::vector<std::int64_t> indices_, counts_;
};

// What the choices are made from, and the choices.
class Search {
 public:
  Search(const LiStephensQueries& queries, const StatesPanel& the_panel,
         const StatesOptions& options, CancelFlag cancel)
      : panel(the_panel),
        neighbours(options.neighbours),
        num_queries(queries.num_queries),
        blocks(the_panel, options),
        excluded(queries, the_panel.num_haplotypes),
        words(num_words(blocks.num_observed())) {
    bool any = false;
    for (std::int64_t query = 0; query < num_queries && !any; ++query) any = !takes_all(query);
    if (!any) return;
    haplotypes = compacted_panel(cancel);
    query_bits = compacted(queries.bits);
    if (queries.missing != nullptr) missing = compacted(queries.missing);
    chosen_.resize(static_cast<std::size_t>(num_queries * blocks.num_blocks() * 2 * neighbours));
  }

  // Whether all haplotypes that a query may copy from are states.
  bool takes_all(std::int64_t query) const {
    return blocks.num_observed() == 0 ||
           panel.num_haplotypes - excluded.count(query) <= 2 * neighbours;
  }

  // The choices of a query for a block, 2 * neighbours; backward ones come last.
  std::int32_t* choices(std::int64_t query, std::int64_t block) {
    return chosen_.data() + (query * blocks.num_blocks() + block) * 2 * neighbours;
  }

  const StatesPanel& panel;
  const std::int64_t neighbours, num_queries;
  const Blocks blocks;
  const Excluded excluded;
  const std::int64_t words;               // of a haplotype's observed sites
  std::vector<std::uint64_t> haplotypes;  // (num_haplotypes, words), observed sites alone
  std::vector<std::uint64_t> query_bits, missing;

 private:
  std::vector<std::uint64_t> compacted(const std::uint64_t* bits) const {
    // As rows of sites, then as rows of queries.
    const std::int64_t columns = num_words(num_queries);
    std::vector<std::uint64_t> rows(static_cast<std::size_t>(blocks.num_observed() * columns));
    gather_columns(bits, num_words(panel.num_sites), 0, num_queries, blocks.sites.data(),
                   blocks.num_observed(), rows.data());
    std::vector<std::uint64_t> out(static_cast<std::size_t>(num_queries * words));
    transpose_bits(rows.data(), blocks.num_observed(), num_queries, columns, out.data());
    return out;
  }

  std::vector<std::uint64_t> compacted_panel(CancelFlag cancel) const {
    const std::int64_t columns = num_words(panel.num_haplotypes);
    std::vector<std::uint64_t> out(static_cast<std::size_t>(panel.num_haplotypes * words));
    std::vector<std::uint64_t> rows(static_cast<std::size_t>(64 * columns));
    std::vector<std::uint64_t> column(static_cast<std::size_t>(panel.num_haplotypes));
    for (std::int64_t w = 0; w < words && !is_set(cancel); ++w) {
      const std::int64_t count = std::min<std::int64_t>(64, blocks.num_observed() - 64 * w);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t site = blocks.sites[static_cast<std::size_t>(64 * w + i)];
        std::copy_n(panel.site_bits + site * panel.row_stride, columns, rows.data() + i * columns);
      }
      transpose_bits(rows.data(), count, panel.num_haplotypes, columns, column.data());
      for (std::int64_t h = 0; h < panel.num_haplotypes; ++h) {
        out[static_cast<std::size_t>(h * words + w)] = column[static_cast<std::size_t>(h)];
      }
    }
    return out;
  }

  std::vector<std::int32_t> chosen_;
};

// Makes one direction's choices for the queries [begin, end).
class Direction {
 public:
  Direction(Search& search, bool is_backward, std::int64_t begin, std::int64_t end)
      : search_(search),
        is_backward_(is_backward),
        begin_(begin),
        end_(end),
        order_(search.panel.num_haplotypes, is_backward),
        places_(static_cast<std::size_t>(end - begin)),
        bits_(search.query_bits.begin() + begin * search.words,
              search.query_bits.begin() + end * search.words) {}

  void run(CancelFlag cancel) {
    const Blocks& blocks = search_.blocks;
    const std::int64_t num_observed = blocks.num_observed();
    std::int64_t block = is_backward_ ? blocks.num_blocks() - 1 : 0;
    for (std::int64_t i = 0; i < num_observed; ++i) {
      if (is_set(cancel)) return;
      const std::int64_t rank = is_backward_ ? num_observed - 1 - i : i;
      if (!search_.missing.empty()) fill(rank);
      advance(rank);
      if (block >= 0 && block < blocks.num_blocks() &&
          blocks.middles[static_cast<std::size_t>(block)] == rank) {
        choose(rank, block);
        block += is_backward_ ? -1 : 1;
      }
    }
  }

 private:
  std::uint64_t* bits_of(std::int64_t query) {
    return bits_.data() + (query - begin_) * search_.words;
  }
  std::int64_t& place_of(std::int64_t query) {
    return places_[static_cast<std::size_t>(query - begin_)];
  }

  void advance(std::int64_t rank) {
    const std::int64_t site = search_.blocks.sites[static_cast<std::size_t>(rank)];
    order_.advance(search_.panel.site_bits + site * search_.panel.row_stride);
    for (std::int64_t query = begin_; query < end_; ++query) {
      const bool allele = (bits_of(query)[rank / 64] >> (rank % 64) & 1) != 0;
      place_of(query) = order_.advanced(place_of(query), allele);
    }
  }

  // Gives queries without an allele at a site that of their nearest neighbour up to the site
  // before.
  void fill(std::int64_t rank) {
    for (std::int64_t query = begin_; query < end_; ++query) {
      const std::uint64_t bit = std::uint64_t{1} << (rank % 64);
      const std::int64_t word = rank / 64;
      if ((search_.missing[static_cast<std::size_t>(query * search_.words + word)] & bit) == 0 ||
          search_.takes_all(query)) {
        continue;
      }
      std::int32_t nearest = 0;
      take_nearest(query, is_backward_ ? rank + 1 : rank - 1, 1, &nearest);
      const std::uint64_t copied =
          search_.haplotypes[static_cast<std::size_t>(nearest * search_.words + word)];
      bits_of(query)[word] = (bits_of(query)[word] & ~bit) | (copied & bit);
    }
  }

  void choose(std::int64_t rank, std::int64_t block) {
    for (std::int64_t query = begin_; query < end_; ++query) {
      if (search_.takes_all(query)) continue;
      std::int32_t* out = search_.choices(query, block);
      take_nearest(query, rank, search_.neighbours, out + (is_backward_ ? search_.neighbours : 0));
    }
  }

  // Writes the `count` allowed haplotypes of the longest match up to the site of this rank, of
  // which there are more than that.
  void take_nearest(std::int64_t query, std::int64_t rank, std::int64_t count, std::int32_t* out) {
    const std::uint64_t* bits = bits_of(query);
    const std::int64_t place = place_of(query);
    Side before{place, -1, -1}, after{place - 1, 1, -1};
    move(before, query, bits, rank);
    move(after, query, bits, rank);
    for (std::int64_t i = 0; i < count; ++i) {
      Side& longer = before.match > after.match ? before : after;
      out[i] = order_[longer.at];
      move(longer, query, bits, rank);
    }
  }

  // The nearest haplotype on one side of a query that was not taken.
  struct Side {
    std::int64_t at, step;
    std::int64_t match;  // -1 past the end of the order
  };

  void move(Side& side, std::int64_t query, const std::uint64_t* bits, std::int64_t rank) const {
    do {
      side.at += side.step;
      if (side.at < 0 || side.at >= order_.size()) {
        side.match = -1;
        return;
      }
    } while (search_.excluded.has(query, order_[side.at]));
    side.match = match(bits, order_[side.at], rank);
  }

  std::int64_t match(const std::uint64_t* bits, std::int64_t haplotype, std::int64_t rank) const {
    const std::int64_t num_observed = search_.blocks.num_observed();
    if (rank < 0 || rank >= num_observed) return 0;  // no site was passed yet
    const std::uint64_t* other = search_.haplotypes.data() + haplotype * search_.words;
    return is_backward_ ? match_after(bits, other, rank, num_observed)
                        : match_before(bits, other, rank);
  }

  Search& search_;
  const bool is_backward_;
  const std::int64_t begin_, end_;
  PositionalOrder order_;
  std::vector<std::int64_t> places_;
  std::vector<std::uint64_t> bits_;  // of the queries; missing alleles are filled in
};

// Appends the states of one query after another.
class Union {
 public:
  explicit Union(Search& search)
      : search_(search), last_(static_cast<std::size_t>(search.panel.num_haplotypes), kNever) {}

  // Writes the number of haplotypes in each block.
  void append(std::int64_t query, std::int64_t* counts) {
    if (search_.takes_all(query)) {
      append_all(query, counts);
    } else {
      append_chosen(query, counts);
    }
  }

  std::vector<std::int32_t> haplotypes;

 private:
  static constexpr std::int32_t kNever = -2;

  void append_all(std::int64_t query, std::int64_t* counts) {
    for (std::int64_t b = 0; b < search_.blocks.num_blocks(); ++b) {
      for (std::int64_t h = 0; h < search_.panel.num_haplotypes; ++h) {
        if (!search_.excluded.has(query, h)) haplotypes.push_back(static_cast<std::int32_t>(h));
      }
      counts[b] = search_.panel.num_haplotypes - search_.excluded.count(query);
    }
  }

  // Goes from block to block: the states of the block before that still hold are merged with those
  // that begin here.
  void append_chosen(std::int64_t query, std::int64_t* counts) {
    const Blocks& blocks = search_.blocks;
    const std::int64_t num_choices = 2 * search_.neighbours;
    std::int64_t chosen = 0;  // blocks whose choices have begun
    std::size_t before = haplotypes.size(), before_end = before;
    for (std::int64_t b = 0; b < blocks.num_blocks(); ++b) {
      fresh_.clear();
      for (; chosen < blocks.num_blocks() && blocks.firsts[static_cast<std::size_t>(chosen)] <= b;
           ++chosen) {
        const std::int32_t* choices = search_.choices(query, chosen);
        for (std::int64_t i = 0; i < num_choices; ++i) {
          std::int32_t& last = last_[static_cast<std::size_t>(choices[i])];
          if (last < b - 1) fresh_.push_back(choices[i]);
          last = static_cast<std::int32_t>(blocks.lasts[static_cast<std::size_t>(chosen)]);
        }
      }
      std::sort(fresh_.begin(), fresh_.end());
      haplotypes.resize(before_end + (before_end - before) + fresh_.size());
      std::int32_t* out = haplotypes.data() + before_end;
      const std::int32_t* fresh = fresh_.data();
      const std::int32_t* const fresh_end = fresh + fresh_.size();
      for (std::size_t i = before; i < before_end; ++i) {
        const std::int32_t kept = haplotypes[i];
        if (last_[static_cast<std::size_t>(kept)] < b) continue;
        while (fresh < fresh_end && *fresh < kept) *out++ = *fresh++;
        *out++ = kept;
      }
      out = std::copy(fresh, fresh_end, out);
      before = before_end;
      before_end = static_cast<std::size_t>(out - haplotypes.data());
      counts[b] = static_cast<std::int64_t>(before_end - before);
    }
    haplotypes.resize(before_end);
    for (std::int64_t b = 0; b < blocks.num_blocks(); ++b) {
      const std::int32_t* choices = search_.choices(query, b);
      for (std::int64_t i = 0; i < num_choices; ++i) {
        last_[static_cast<std::size_t>(choices[i])] = kNever;
      }
    }
  }

  Search& search_;
  std::vector<std::int32_t> last_;  // for each haplotype, the last block in which it is a state
  std::vector<std::int32_t> fresh_;
};

// Both directions at once, each for groups of the queries. Every group keeps an order of its own,
// so there are several only if the queries take longer than the order.
void choose(Search& search, int num_threads, CancelFlag cancel) {
  const Blocks& blocks = search.blocks;
  // A choice takes as long as about 30 haplotypes of the order.
  const double choices = static_cast<double>(search.num_queries * search.neighbours);
  const double share = 30 * choices * static_cast<double>(blocks.num_blocks()) /
                       static_cast<double>(search.panel.num_haplotypes * blocks.num_observed());
  const auto useful = static_cast<std::int64_t>(std::min(share, 4096.0)) + 1;
  const std::int64_t groups =
      std::min<std::int64_t>({useful, std::max(1, num_threads / 2), search.num_queries});
  parallel_ranges(2 * groups, num_threads, [&](int, std::int64_t first, std::int64_t stop) {
    for (std::int64_t task = first; task < stop; ++task) {
      const std::int64_t group = task / 2;
      Direction direction(search, task % 2 != 0, search.num_queries * group / groups,
                          search.num_queries * (group + 1) / groups);
      direction.run(cancel);
    }
  });
}

}  // namespace

bool retrieve_states(const LiStephensQueries& queries, const StatesPanel& panel,
                     const StatesOptions& options, int num_threads, States& states,
                     CancelFlag cancel) {
  StatesOptions possible = options;
  possible.neighbours = std::min(options.neighbours, panel.num_haplotypes);
  Search search(queries, panel, possible, cancel);
  const std::int64_t num_queries = queries.num_queries, num_blocks = search.blocks.num_blocks();
  states.block_starts = search.blocks.starts;
  states.offsets.assign(static_cast<std::size_t>(num_queries * (num_blocks + 1)), 0);
  states.haplotypes.clear();
  if (num_queries == 0) return true;
  if (!search.haplotypes.empty()) choose(search, num_threads, cancel);
  if (is_set(cancel)) return false;

  std::vector<std::vector<std::int32_t>> parts(static_cast<std::size_t>(std::max(1, num_threads)));
  parallel_ranges(num_queries, num_threads, [&](int part, std::int64_t begin, std::int64_t end) {
    Union states_of(search);
    for (std::int64_t query = begin; query < end && !is_set(cancel); ++query) {
      states_of.append(query, states.offsets.data() + query * (num_blocks + 1));
    }
    parts[static_cast<std::size_t>(part)] = std::move(states_of.haplotypes);
  });
  if (is_set(cancel)) return false;
  std::int64_t total = 0;
  for (std::int64_t query = 0; query < num_queries; ++query) {
    std::int64_t* offsets = states.offsets.data() + query * (num_blocks + 1);
    for (std::int64_t b = 0; b <= num_blocks; ++b) {
      const std::int64_t count = offsets[b];  // 0 past the last block
      offsets[b] = total;
      total += count;
    }
  }
  states.haplotypes = std::move(parts[0]);
  states.haplotypes.reserve(static_cast<std::size_t>(total));
  for (std::size_t part = 1; part < parts.size(); ++part) {
    states.haplotypes.insert(states.haplotypes.end(), parts[part].begin(), parts[part].end());
    parts[part] = {};
  }
  return true;
}

}  // namespace snvrag
