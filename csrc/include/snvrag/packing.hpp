// Conversion of alleles to bits and back, and transposition of bits.
#pragma once

#include <cstdint>

#include "snvrag/bits.hpp"

namespace snvrag {

// Packs `num_rows` x `num_columns` bytes, each 0 or 1, to rows of num_words(num_columns) words.
// Byte (r, c) is alleles[r * row_stride + c * column_stride]. Returns -1, or r * num_columns
// + c of the first byte (row-major) that is neither 0 nor 1; `bits` is then unspecified.
// Fast where one of the strides is 1.
std::int64_t pack_rows(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
                       std::int64_t row_stride, std::int64_t column_stride, std::uint64_t* bits);

// The inverse: bytes 0 and 1 to a contiguous (num_rows, num_columns) array.
void unpack_rows(const std::uint64_t* bits, std::int64_t num_rows, std::int64_t num_columns,
                 std::int64_t row_stride_words, std::uint8_t* alleles);

// Transposes num_rows x num_columns bits: out has num_columns rows of num_words(num_rows) words.
void transpose_bits(const std::uint64_t* bits, std::int64_t num_rows, std::int64_t num_columns,
                    std::int64_t row_stride_words, std::uint64_t* out);

// Gathers columns of a bit matrix as rows: out[i] is column columns[i] of the rows
// first_row + [0, num_rows), in num_words(num_rows) words. Columns must be in range.
void gather_columns(const std::uint64_t* bits, std::int64_t row_stride_words,
                    std::int64_t first_row, std::int64_t num_rows, const std::int64_t* columns,
                    std::int64_t num_columns, std::uint64_t* out);

// The same as bytes 0 and 1: out[i * out_stride + r] is row first_row + r of column columns[i].
void gather_alleles(const std::uint64_t* bits, std::int64_t row_stride_words,
                    std::int64_t first_row, std::int64_t num_rows, const std::int64_t* columns,
                    std::int64_t num_columns, std::int64_t out_stride, std::uint8_t* out);

}  // namespace snvrag
