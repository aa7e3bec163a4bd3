// The one text of the level-dependent kernels. An including file defines, in an anonymous
// namespace, the types Lanes (eight 64-bit lanes), BitCount (their population counts) and Floats
// (kFloatLanes float32 lanes), the constants kQueryTile, kL2Queries and kL2Rows, and the functions
// named below, then SNVRAG_KERNEL_TABLE, the name of the table.

namespace snvrag {
namespace {

// Haplotype blocks that stay in the second-level cache while all queries pass over them.
constexpr std::int64_t kScanBytes = 256 * 1024;

template <int N>
void scan_queries(const HammingScan& scan, std::int64_t first_query, std::int64_t first_block,
                  std::int64_t last_block) {
  const std::int64_t num_words = scan.num_words;
  const std::uint64_t* query = scan.queries + first_query * num_words;
  Candidates* candidates = scan.candidates + first_query;
  for (std::int64_t block = first_block; block < last_block; ++block) {
    const std::uint64_t* words = scan.words + block * num_words * kBlockLanes;
    BitCount count[N];
    for (std::int64_t start = 0; start < num_words; start += BitCount::kMaxWords) {
      const std::int64_t stop =
          start + BitCount::kMaxWords < num_words ? start + BitCount::kMaxWords : num_words;
      for (std::int64_t w = start; w < stop; ++w) {
        const Lanes panel = load_lanes(words + w * kBlockLanes);
        for (int i = 0; i < N; ++i) {
          count[i].add(exclusive_or(panel, broadcast_lanes(query[i * num_words + w])));
        }
      }
      for (int i = 0; i < N; ++i) count[i].fold();
    }
    for (int i = 0; i < N; ++i) {
      unsigned below = count[i].below(candidates[i].threshold);
      if (below == 0) continue;
      const std::int64_t first = block * kBlockLanes;
      if (first + kBlockLanes > scan.num_haplotypes) {
        below &= (1u << (scan.num_haplotypes - first)) - 1;
      }
      std::uint64_t distances[kBlockLanes];
      count[i].store(distances);
      Candidates& mine = candidates[i];
      for (; below != 0; below &= below - 1) {
        const int lane = __builtin_ctz(below);
        mine.keys[mine.size++] = (distances[lane] << 32) | static_cast<std::uint64_t>(first + lane);
      }
      if (mine.size + kBlockLanes > mine.capacity) flush(mine);
    }
  }
}

void hamming_scan(const HammingScan& scan) {
  std::int64_t blocks_at_once = kScanBytes / (64 * (scan.num_words + 1));
  if (blocks_at_once < 16) blocks_at_once = 16;
  for (std::int64_t block = scan.first_block; block < scan.last_block; block += blocks_at_once) {
    const std::int64_t last =
        block + blocks_at_once < scan.last_block ? block + blocks_at_once : scan.last_block;
    std::int64_t query = 0;
    for (; query + kQueryTile <= scan.num_queries; query += kQueryTile) {
      scan_queries<kQueryTile>(scan, query, block, last);
    }
    for (; query < scan.num_queries; ++query) scan_queries<1>(scan, query, block, last);
  }
}

void compact_row(const std::uint64_t* row, const CompactWord* words, std::int64_t num_words,
                 std::uint64_t* out) {
  std::int64_t filled = 0;
  for (std::int64_t w = 0; w < num_words; ++w) {
    if (words[w].num_kept == 0) continue;
    const std::uint64_t bits = compress_bits(row[w], words[w]);
    const std::int64_t offset = filled % 64;
    out[filled / 64] |= bits << offset;
    if (offset + words[w].num_kept > 64) out[filled / 64 + 1] |= bits >> (64 - offset);
    filled += words[w].num_kept;
  }
}

template <int NQ, int NR>
void l2_tile(const float* queries, std::int64_t query_stride, const float* rows,
             std::int64_t row_stride, std::int64_t n, float* sums, std::int64_t sums_stride) {
  Floats sum[NQ][NR];
  for (int q = 0; q < NQ; ++q) {
    for (int r = 0; r < NR; ++r) sum[q][r] = zero_floats();
  }
  const std::int64_t whole = n - n % kFloatLanes;
  for (std::int64_t d = 0; d < whole; d += kFloatLanes) {
    Floats row[NR];
    for (int r = 0; r < NR; ++r) row[r] = load_floats(rows + r * row_stride + d);
    for (int q = 0; q < NQ; ++q) {
      const Floats query = load_floats(queries + q * query_stride + d);
      for (int r = 0; r < NR; ++r) sum[q][r] = add_squared_difference(sum[q][r], query, row[r]);
    }
  }
  for (int q = 0; q < NQ; ++q) {
    for (int r = 0; r < NR; ++r) {
      float total = horizontal_sum(sum[q][r]);
      for (std::int64_t d = whole; d < n; ++d) {
        const float difference = queries[q * query_stride + d] - rows[r * row_stride + d];
        total += difference * difference;
      }
      sums[q * sums_stride + r] += total;
    }
  }
}

void l2_block(const float* queries, std::int64_t num_queries, std::int64_t query_stride,
              const float* rows, std::int64_t num_rows, std::int64_t row_stride,
              std::int64_t num_dimensions, float* sums, std::int64_t sums_stride) {
  std::int64_t r = 0;
  for (; r + kL2Rows <= num_rows; r += kL2Rows) {
    const float* tile = rows + r * row_stride;
    std::int64_t q = 0;
    for (; q + kL2Queries <= num_queries; q += kL2Queries) {
      l2_tile<kL2Queries, kL2Rows>(queries + q * query_stride, query_stride, tile, row_stride,
                                   num_dimensions, sums + q * sums_stride + r, sums_stride);
    }
    for (; q < num_queries; ++q) {
      l2_tile<1, kL2Rows>(queries + q * query_stride, query_stride, tile, row_stride,
                          num_dimensions, sums + q * sums_stride + r, sums_stride);
    }
  }
  for (; r < num_rows; ++r) {
    for (std::int64_t q = 0; q < num_queries; ++q) {
      l2_tile<1, 1>(queries + q * query_stride, query_stride, rows + r * row_stride, row_stride,
                    num_dimensions, sums + q * sums_stride + r, sums_stride);
    }
  }
}

bool pack_row(const std::uint8_t* alleles, std::int64_t n, std::uint64_t* bits) {
  bool valid = true;
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) valid &= pack_word(alleles + i, bits++);
  if (i < n) {
    std::uint8_t last[64] = {};
    for (std::int64_t j = i; j < n; ++j) last[j - i] = alleles[j];
    valid &= pack_word(last, bits);
  }
  return valid;
}

void unpack_row(const std::uint64_t* bits, std::int64_t n, std::uint8_t* alleles) {
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) unpack_word(*bits++, alleles + i);
  if (i < n) {
    std::uint8_t last[64];
    unpack_word(*bits, last);
    for (std::int64_t j = i; j < n; ++j) alleles[j] = last[j - i];
  }
}

// One of the six rounds of the recursive block transpose (Warren, Hacker's Delight, 7-3), here
// with bit 0 as the first column.
template <int J>
void transpose_round(std::uint64_t* words, std::uint64_t mask) {
  for (int base = 0; base < 64; base += 2 * J) {
    for (int i = base; i < base + J; ++i) {
      const std::uint64_t swap = ((words[i] >> J) ^ words[i + J]) & mask;
      words[i] ^= swap << J;
      words[i + J] ^= swap;
    }
  }
}

void transpose64(std::uint64_t* words) {
  transpose_round<32>(words, 0x00000000ffffffffu);
  transpose_round<16>(words, 0x0000ffff0000ffffu);
  transpose_round<8>(words, 0x00ff00ff00ff00ffu);
  transpose_round<4>(words, 0x0f0f0f0f0f0f0f0fu);
  transpose_round<2>(words, 0x3333333333333333u);
  transpose_round<1>(words, 0x5555555555555555u);
}

}  // namespace

extern const KernelTable SNVRAG_KERNEL_TABLE;
const KernelTable SNVRAG_KERNEL_TABLE = {hamming_scan, compact_row, l2_block,
                                         pack_row,     unpack_row,  transpose64};

}  // namespace snvrag
