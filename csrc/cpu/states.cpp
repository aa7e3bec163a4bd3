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
  Search(const StatesQueries& queries, const StatesPanel& the_panel, const StatesOptions& options,
         CancelFlag cancel)
      : panel(the_panel),
        neighbours(options.neighbours),
        num_queries(queries.num_queries),
        group_size(queries.group_size),
        blocks(the_panel, options),
        excluded(queries, the_panel.num_haplotypes),
        words(num_words(blocks.num_observed())) {
    bool any = false;
    for (std::int64_t query = 0; query < num_queries && !any; ++query) any = !takes_all(query);
    if (!any) return;
    haplotypes = compacted_panel(cancel);
    query_bits = compacted(queries.bits, num_queries);
    if (queries.missing != nullptr) missing = compacted(queries.missing, num_queries);
    if (queries.unphased != nullptr) {
      unphased = compacted(queries.unphased, num_queries / 2);
      drop_phased();
    }
    chosen_.resize(static_cast<std::size_t>(num_queries * blocks.num_blocks() * 2 * neighbours));
  }

  // Whether all haplotypes that a query may copy from are states.
  bool takes_all(std::int64_t query) const {
    return blocks.num_observed() == 0 ||
           panel.num_haplotypes - excluded.count(query) <= 2 * neighbours;
  }

  // Whether a choice depends on where the query is in the order.
  bool is_followed(std::int64_t query) const {
    return !takes_all(query) || (!unphased.empty() && !takes_all(query ^ 1));
  }

  bool lacks(std::int64_t query, std::int64_t rank) const {
    return !missing.empty() && bit(missing, query, rank);
  }
  bool is_unphased(std::int64_t sample, std::int64_t rank) const {
    return !unphased.empty() && bit(unphased, sample, rank);
  }
  bool has_alt(std::int64_t haplotype, std::int64_t rank) const {
    return bit(haplotypes, haplotype, rank);
  }

  // The choices of a query for a block, 2 * neighbours; backward ones come last. The next block's
  // follow.
  std::int32_t* choices(std::int64_t query, std::int64_t block) {
    return chosen_.data() + (query * blocks.num_blocks() + block) * 2 * neighbours;
  }

  const StatesPanel& panel;
  const std::int64_t neighbours, num_queries, group_size;
  const Blocks blocks;
  const Excluded excluded;
  const std::int64_t words;               // of a haplotype's observed sites
  std::vector<std::uint64_t> haplotypes;  // (num_haplotypes, words), observed sites alone
  std::vector<std::uint64_t> query_bits, missing;
  std::vector<std::uint64_t> unphased;  // of each sample; never both alleles equal or both missing

 private:
  bool bit(const std::vector<std::uint64_t>& bits, std::int64_t row, std::int64_t rank) const {
    return (bits[static_cast<std::size_t>(row * words + rank / 64)] >> (rank % 64) & 1) != 0;
  }

  std::vector<std::uint64_t> compacted(const std::uint64_t* bits, std::int64_t num_rows) const {
    // As rows of sites, then as rows of queries.
    const std::int64_t columns = num_words(num_rows);
    std::vector<std::uint64_t> rows(static_cast<std::size_t>(blocks.num_observed() * columns));
    gather_columns(bits, num_words(panel.num_sites), 0, num_rows, blocks.sites.data(),
                   blocks.num_observed(), rows.data());
    std::vector<std::uint64_t> out(static_cast<std::size_t>(num_rows * words));
    transpose_bits(rows.data(), blocks.num_observed(), num_rows, columns, out.data());
    return out;
  }

  void drop_phased() {
    for (std::int64_t sample = 0; sample < num_queries / 2; ++sample) {
      for (std::int64_t w = 0; w < words; ++w) {
        const auto first = static_cast<std::size_t>(2 * sample * words + w);
        const std::size_t second = first + static_cast<std::size_t>(words);
        std::uint64_t differ = query_bits[first] ^ query_bits[second];
        if (!missing.empty()) {
          differ &= ~(missing[first] | missing[second]);
          differ |= missing[first] ^ missing[second];
        }
        unphased[static_cast<std::size_t>(sample * words + w)] &= differ;
      }
    }
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
      if (!search_.missing.empty() || !search_.unphased.empty()) fill(rank);
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
      place_of(query) = order_.advanced(place_of(query), allele_of(query, rank));
    }
  }

  // Gives queries whose allele at a site is not known one by their nearest neighbours up to the
  // site before.
  void fill(std::int64_t rank) {
    for (std::int64_t query = begin_; query < end_; ++query) {
      if (search_.is_unphased(query / 2, rank)) {
        if (search_.is_followed(query)) phase(query, rank);
        ++query;
      } else if (search_.lacks(query, rank) && search_.is_followed(query)) {
        set_allele(query, rank, nearest(query, rank).allele);
      }
    }
  }

  // Fills in the alleles of a sample whose first query this is.
  void phase(std::int64_t query, std::int64_t rank) {
    Nearest first = nearest(query, rank), second = nearest(query + 1, rank);
    if (first.allele == second.allele) {
      const bool is_missing = search_.lacks(query, rank) || search_.lacks(query + 1, rank);
      const bool known = allele_of(query + (search_.lacks(query, rank) ? 1 : 0), rank);
      if (!is_missing || first.allele != known) {
        Nearest& shorter = first.match < second.match ? first : second;
        shorter.allele = !shorter.allele;
      }
    }
    set_allele(query, rank, first.allele);
    set_allele(query + 1, rank, second.allele);
  }

  bool allele_of(std::int64_t query, std::int64_t rank) {
    return (bits_of(query)[rank / 64] >> (rank % 64) & 1) != 0;
  }
  void set_allele(std::int64_t query, std::int64_t rank, bool allele) {
    const std::uint64_t bit = std::uint64_t{1} << (rank % 64);
    std::uint64_t& word = bits_of(query)[rank / 64];
    word = allele ? word | bit : word & ~bit;
  }

  void choose(std::int64_t rank, std::int64_t block) {
    for (std::int64_t query = begin_; query < end_; ++query) {
      if (search_.takes_all(query)) continue;
      std::int32_t* out = search_.choices(query, block);
      take_nearest(query, rank, search_.neighbours, out + (is_backward_ ? search_.neighbours : 0));
    }
  }

  // The nearest haplotype on one side of a query that was not taken.
  struct Side {
    std::int64_t at, step;
    std::int64_t match;  // -1 past the end of the order
  };

  // The haplotypes by how long they match a query up to the site of a rank.
  struct Sides {
    Side before, after;

    Side& longer() { return before.match > after.match ? before : after; }
  };

  Sides sides(std::int64_t query, std::int64_t rank) {
    const std::int64_t place = place_of(query);
    Sides both{{place, -1, -1}, {place - 1, 1, -1}};
    move(both.before, query, bits_of(query), rank);
    move(both.after, query, bits_of(query), rank);
    return both;
  }

  // Writes the `count` allowed haplotypes of the longest match up to the site of this rank, of
  // which there are more than that.
  void take_nearest(std::int64_t query, std::int64_t rank, std::int64_t count, std::int32_t* out) {
    const std::uint64_t* bits = bits_of(query);
    Sides left = sides(query, rank);
    for (std::int64_t i = 0; i < count; ++i) {
      Side& longer = left.longer();
      out[i] = order_[longer.at];
      move(longer, query, bits, rank);
    }
  }

  struct Nearest {
    bool allele;
    std::int64_t match;  // up to the site before
  };

  // The allele of a query's nearest neighbour up to the site before.
  Nearest nearest(std::int64_t query, std::int64_t rank) {
    Sides both = sides(query, is_backward_ ? rank + 1 : rank - 1);
    const Side& longer = both.longer();
    if (longer.match < 0) return {false, -1};  // all haplotypes are excluded
    return {search_.has_alt(order_[longer.at], rank), longer.match};
  }

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

// Appends the states of one group of queries after another.
class Union {
 public:
  explicit Union(Search& search)
      : search_(search), last_(static_cast<std::size_t>(search.panel.num_haplotypes), kNever) {}

  // Writes the number of haplotypes in each block.
  void append(std::int64_t group, std::int64_t* counts) {
    const std::int64_t begin = group * search_.group_size, end = begin + search_.group_size;
    for (std::int64_t query = begin; query < end; ++query) {
      if (search_.takes_all(query)) return append_all(begin, end, counts);
    }
    append_chosen(begin, end, counts);
  }

  std::vector<std::int32_t> haplotypes;

 private:
  static constexpr std::int32_t kNever = -2;

  // What any of the queries [begin, end) may copy from.
  void append_all(std::int64_t begin, std::int64_t end, std::int64_t* counts) {
    fresh_.clear();
    for (std::int64_t h = 0; h < search_.panel.num_haplotypes; ++h) {
      std::int64_t query = begin;
      while (query < end && search_.excluded.has(query, h)) ++query;
      if (query < end) fresh_.push_back(static_cast<std::int32_t>(h));
    }
    for (std::int64_t b = 0; b < search_.blocks.num_blocks(); ++b) {
      haplotypes.insert(haplotypes.end(), fresh_.begin(), fresh_.end());
      counts[b] = static_cast<std::int64_t>(fresh_.size());
    }
  }

  // Goes from block to block: the states of the block before that still hold are merged with those
  // that begin here.
  void append_chosen(std::int64_t begin, std::int64_t end, std::int64_t* counts) {
    const Blocks& blocks = search_.blocks;
    const std::int64_t num_choices = 2 * search_.neighbours;
    std::int64_t chosen = 0;  // blocks whose choices have begun
    std::size_t before = haplotypes.size(), before_end = before;
    for (std::int64_t b = 0; b < blocks.num_blocks(); ++b) {
      fresh_.clear();
      for (; chosen < blocks.num_blocks() && blocks.firsts[static_cast<std::size_t>(chosen)] <= b;
           ++chosen) {
        for (std::int64_t query = begin; query < end; ++query) {
          const std::int32_t* choices = search_.choices(query, chosen);
          for (std::int64_t i = 0; i < num_choices; ++i) {
            std::int32_t& last = last_[static_cast<std::size_t>(choices[i])];
            if (last < b - 1) fresh_.push_back(choices[i]);
            last = static_cast<std::int32_t>(blocks.lasts[static_cast<std::size_t>(chosen)]);
          }
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
    for (std::int64_t query = begin; query < end; ++query) {
      const std::int32_t* choices = search_.choices(query, 0);
      for (std::int64_t i = 0; i < num_choices * blocks.num_blocks(); ++i) {
        last_[static_cast<std::size_t>(choices[i])] = kNever;
      }
    }
  }

  Search& search_;
  std::vector<std::int32_t> last_;  // for each haplotype, the last block in which it is a state
  std::vector<std::int32_t> fresh_;
};

// Both directions at once, each for groups of the queries. Every group keeps an order of its own,
// so there are several only if the queries take longer than the order. A sample's two queries are
// in one group if they are filled in together.
void choose(Search& search, int num_threads, CancelFlag cancel) {
  const Blocks& blocks = search.blocks;
  // A choice takes as long as about 30 haplotypes of the order.
  const double choices = static_cast<double>(search.num_queries * search.neighbours);
  const double share = 30 * choices * static_cast<double>(blocks.num_blocks()) /
                       static_cast<double>(search.panel.num_haplotypes * blocks.num_observed());
  const auto useful = static_cast<std::int64_t>(std::min(share, 4096.0)) + 1;
  const std::int64_t together = search.unphased.empty() ? 1 : 2;
  const std::int64_t count = search.num_queries / together;
  const auto groups = std::min<std::int64_t>({useful, std::max(1, num_threads / 2), count});
  parallel_ranges(2 * groups, num_threads, [&](int, std::int64_t first, std::int64_t stop) {
    for (std::int64_t task = first; task < stop; ++task) {
      const std::int64_t group = task / 2;
      Direction direction(search, task % 2 != 0, together * (count * group / groups),
                          together * (count * (group + 1) / groups));
      direction.run(cancel);
    }
  });
}

}  // namespace

bool retrieve_states(const StatesQueries& queries, const StatesPanel& panel,
                     const StatesOptions& options, int num_threads, States& states,
                     CancelFlag cancel) {
  StatesOptions possible = options;
  possible.neighbours = std::min(options.neighbours, panel.num_haplotypes);
  Search search(queries, panel, possible, cancel);
  const std::int64_t num_groups = queries.num_queries / queries.group_size;
  const std::int64_t num_blocks = search.blocks.num_blocks();
  states.block_starts = search.blocks.starts;
  states.offsets.assign(static_cast<std::size_t>(num_groups * (num_blocks + 1)), 0);
  states.haplotypes.clear();
  if (num_groups == 0) return true;
  if (!search.haplotypes.empty()) choose(search, num_threads, cancel);
  if (is_set(cancel)) return false;

  std::vector<std::vector<std::int32_t>> parts(static_cast<std::size_t>(std::max(1, num_threads)));
  parallel_ranges(num_groups, num_threads, [&](int part, std::int64_t begin, std::int64_t end) {
    Union states_of(search);
    for (std::int64_t group = begin; group < end && !is_set(cancel); ++group) {
      states_of.append(group, states.offsets.data() + group * (num_blocks + 1));
    }
    parts[static_cast<std::size_t>(part)] = std::move(states_of.haplotypes);
  });
  if (is_set(cancel)) return false;
  std::int64_t total = 0;
  for (std::int64_t group = 0; group < num_groups; ++group) {
    std::int64_t* offsets = states.offsets.data() + group * (num_blocks + 1);
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
