#include "snvrag/packing.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernel_table.hpp"

namespace snvrag {
namespace {

std::int64_t first_invalid(const std::uint8_t* alleles, std::int64_t num_rows,
                           std::int64_t num_columns, std::int64_t row_stride,
                           std::int64_t column_stride) {
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t c = 0; c < num_columns; ++c) {
      if (alleles[r * row_stride + c * column_stride] > 1) return r * num_columns + c;
    }
  }
  return -1;
}

// Packs rows that are adjacent in memory (row_stride 1), in tiles of 64 x 64. Rows run fastest, so
// that each column is read sequentially.
bool pack_columns(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
                  std::int64_t column_stride, std::uint64_t* bits) {
  const KernelTable& table = kernels();
  const std::int64_t words = num_words(num_columns);
  bool valid = true;
  for (std::int64_t w = 0; w < words; ++w) {
    const std::int64_t columns = std::min<std::int64_t>(64, num_columns - 64 * w);
    for (std::int64_t r = 0; r < num_rows; r += 64) {
      const std::int64_t rows = std::min<std::int64_t>(64, num_rows - r);
      std::uint64_t tile[64];
      valid &=
          table.pack_tile(alleles + 64 * w * column_stride + r, rows, columns, column_stride, tile);
      for (std::int64_t i = 0; i < rows; ++i) bits[(r + i) * words + w] = tile[i];
    }
  }
  return valid;
}

bool pack_any(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
              std::int64_t row_stride, std::int64_t column_stride, std::uint64_t* bits) {
  const std::int64_t words = num_words(num_columns);
  unsigned seen = 0;
  for (std::int64_t r = 0; r < num_rows; ++r) {
    std::fill(bits + r * words, bits + (r + 1) * words, 0);
    for (std::int64_t c = 0; c < num_columns; ++c) {
      const std::uint8_t allele = alleles[r * row_stride + c * column_stride];
      seen |= allele;
      bits[r * words + c / 64] |= static_cast<std::uint64_t>(allele & 1) << (c % 64);
    }
  }
  return seen <= 1;
}

// The columns to gather from one cache line of a row, and where they go.
struct Line {
  std::int64_t first_word;
  unsigned words;  // those of the line that have such a column
  std::vector<std::pair<std::int64_t, std::int64_t>> columns;  // (64 * word + bit, place)
};

std::vector<Line> lines_of(const std::int64_t* columns, std::int64_t num_columns) {
  constexpr std::int64_t kBits = 64 * kTileColumns;
  std::int64_t most = -1;
  for (std::int64_t i = 0; i < num_columns; ++i) most = std::max(most, columns[i] / kBits);
  std::vector<Line> lines(static_cast<std::size_t>(most + 1));
  for (std::int64_t i = 0; i < num_columns; ++i) {
    Line& line = lines[static_cast<std::size_t>(columns[i] / kBits)];
    line.first_word = columns[i] / kBits * kTileColumns;
    line.words |= 1u << (columns[i] % kBits / 64);
    line.columns.emplace_back(columns[i] % kBits, i);
  }
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [](const Line& line) { return line.columns.empty(); }),
              lines.end());
  return lines;
}

// Calls write(i, w, rows, word) with each word of column columns[i] as a row: `rows` (up to 64) of
// its bits are rows first_row + 64 * w and following.
template <class Write>
void gather_tiles(const std::uint64_t* bits, std::int64_t row_stride_words, std::int64_t first_row,
                  std::int64_t num_rows, const std::int64_t* columns, std::int64_t num_columns,
                  Write write) {
  const KernelTable& table = kernels();
  const std::vector<Line> lines = lines_of(columns, num_columns);
  // One output word at a time: its 64 rows stay in the first-level cache for all columns.
  for (std::int64_t w = 0; w < num_words(num_rows); ++w) {
    const std::int64_t rows = std::min<std::int64_t>(64, num_rows - 64 * w);
    const std::uint64_t* row[64];
    for (std::int64_t r = 0; r < rows; ++r) {
      row[r] = bits + (first_row + 64 * w + r) * row_stride_words;
    }
    for (const Line& line : lines) {
      std::uint64_t tiles[kTileColumns][64];
      table.transpose_tiles(row, rows, line.first_word, line.words, tiles);
      for (const auto& [bit, place] : line.columns)
        write(place, w, rows, tiles[bit / 64][bit % 64]);
    }
  }
}

}  // namespace

std::int64_t pack_rows(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
                       std::int64_t row_stride, std::int64_t column_stride, std::uint64_t* bits) {
  bool valid = true;
  if (column_stride == 1 || num_columns == 1) {
    const KernelTable& table = kernels();
    for (std::int64_t r = 0; r < num_rows; ++r) {
      valid &=
          table.pack_row(alleles + r * row_stride, num_columns, bits + r * num_words(num_columns));
    }
  } else if (row_stride == 1) {
    valid = pack_columns(alleles, num_rows, num_columns, column_stride, bits);
  } else {
    valid = pack_any(alleles, num_rows, num_columns, row_stride, column_stride, bits);
  }
  return valid ? -1 : first_invalid(alleles, num_rows, num_columns, row_stride, column_stride);
}

void unpack_rows(const std::uint64_t* bits, std::int64_t num_rows, std::int64_t num_columns,
                 std::int64_t row_stride_words, std::uint8_t* alleles) {
  const KernelTable& table = kernels();
  for (std::int64_t r = 0; r < num_rows; ++r) {
    table.unpack_row(bits + r * row_stride_words, num_columns, alleles + r * num_columns);
  }
}

void transpose_bits(const std::uint64_t* bits, std::int64_t num_rows, std::int64_t num_columns,
                    std::int64_t row_stride_words, std::uint64_t* out) {
  const KernelTable& table = kernels();
  const std::int64_t out_words = num_words(num_rows);
  for (std::int64_t c = 0; c < num_words(num_columns); ++c) {
    const std::int64_t columns = std::min<std::int64_t>(64, num_columns - 64 * c);
    for (std::int64_t r = 0; r < out_words; ++r) {
      const std::int64_t rows = std::min<std::int64_t>(64, num_rows - 64 * r);
      std::uint64_t tile[64] = {};
      for (std::int64_t i = 0; i < rows; ++i) tile[i] = bits[(64 * r + i) * row_stride_words + c];
      table.transpose64(tile);
      for (std::int64_t i = 0; i < columns; ++i) out[(64 * c + i) * out_words + r] = tile[i];
    }
  }
}

void gather_columns(const std::uint64_t* bits, std::int64_t row_stride_words,
                    std::int64_t first_row, std::int64_t num_rows, const std::int64_t* columns,
                    std::int64_t num_columns, std::uint64_t* out) {
  const std::int64_t out_words = num_words(num_rows);
  gather_tiles(bits, row_stride_words, first_row, num_rows, columns, num_columns,
               [&](std::int64_t i, std::int64_t w, std::int64_t, std::uint64_t word) {
                 out[i * out_words + w] = word;
               });
}

void gather_alleles(const std::uint64_t* bits, std::int64_t row_stride_words,
                    std::int64_t first_row, std::int64_t num_rows, const std::int64_t* columns,
                    std::int64_t num_columns, std::int64_t out_stride, std::uint8_t* out) {
  const KernelTable& table = kernels();
  gather_tiles(bits, row_stride_words, first_row, num_rows, columns, num_columns,
               [&](std::int64_t i, std::int64_t w, std::int64_t rows, std::uint64_t word) {
                 table.unpack_row(&word, rows, out + i * out_stride + 64 * w);
               });
}

}  // namespace snvrag
