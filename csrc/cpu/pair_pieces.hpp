// Pieces of the observed sites, each of one block of states, and where the algorithm over pairs of
// states keeps what it has of each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "state_blocks.hpp"

namespace snvrag {

// Observed sites of a span: it begins with all pairs of states, from which those of one state are
// computed at any of its sites.
constexpr std::int64_t kSpanSites = 64;

// Observed sites [first_rank, end_rank), all of a block of states.
struct Piece {
  const StateBlock* block = nullptr;
  std::int64_t first_rank = 0, end_rank = 0;
  std::int64_t num_columns = 0;
  bool continues = false;  // has the states of the piece before
  std::size_t span = 0;    // the last piece up to here of which all pairs are kept
  std::int64_t lower = 0;  // of its table
  // Where its own begin: of a kept piece, the pairs before its first site; the rows of its table;
  // of each site, the first and second of its PairChange; a state's lines, among those of its span;
  // of a piece that does not continue, its PieceEntry: of floats and of indices.
  std::size_t cells_at = 0, rows_at = 0, changes_at = 0, lines_at = 0, entry_at = 0, index_at = 0;

  std::int64_t num_sites() const { return end_rank - first_rank; }
};

// Of what is kept of all pieces: numbers of floats, indices and lines.
struct PieceSizes {
  std::size_t cells = 0, changes = 0, entries = 0, indices = 0;
  std::size_t most_cells = 0, most_columns = 0, most_lines = 0;  // of a table, piece, span
};

// Floats that begin a cache line: vectors of whole lines then touch one each.
class AlignedFloats {
 public:
  // Makes room for zeros.
  void grow(std::size_t size) {
    if (reserve(size)) std::fill_n(values_.get(), size_, 0.0f);
  }
  // Makes room without values; returns whether there was none.
  bool reserve(std::size_t size) {
    if (size + kLine <= size_) return false;
    size_ = size + kLine;
    values_.reset(new float[size_]);
    return true;
  }
  float* data() {
    const auto past = reinterpret_cast<std::uintptr_t>(values_.get()) / sizeof(float) % kLine;
    return values_.get() + (kLine - past) % kLine;
  }
  const float* data() const { return const_cast<AlignedFloats*>(this)->data(); }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(float);
  std::unique_ptr<float[]> values_;
  std::size_t size_ = 0;
};

class PairPieces {
 public:
  std::size_t size() const { return pieces_.size(); }
  const Piece& operator[](std::size_t p) const { return pieces_[p]; }
  const PieceSizes& sizes() const { return sizes_; }

  PairTable table(std::size_t p) const {
    const Piece& piece = pieces_[p];
    return {piece.block->num_states, piece.num_columns, rows_at_.data() + piece.rows_at,
            piece.lower};
  }

  // Divides the blocks; with is_symmetric, tables have no lower part.
  void cut(const std::vector<StateBlock>& blocks, bool is_symmetric) {
    pieces_.clear();
    rows_at_.clear();
    sizes_ = {};
    for (const StateBlock& block : blocks) {
      const std::int64_t num_sites = block.end_rank - block.first_rank;
      const std::int64_t parts = std::max<std::int64_t>(1, (num_sites - 1) / kSpanSites + 1);
      for (std::int64_t part = 0; part < parts; ++part) {
        Piece piece;
        piece.block = &block;
        piece.first_rank = block.first_rank + num_sites * part / parts;
        piece.end_rank = block.first_rank + num_sites * (part + 1) / parts;
        piece.num_columns = (block.num_states + kPairColumns - 1) / kPairColumns * kPairColumns;
        piece.continues = !pieces_.empty() && has_states_of(*pieces_.back().block, block);
        add(piece, is_symmetric);
      }
    }
  }

 private:
  static bool has_states_of(const StateBlock& one, const StateBlock& other) {
    return one.num_states == other.num_states &&
           std::equal(one.states, one.states + one.num_states, other.states);
  }

  void add(Piece piece, bool is_symmetric) {
    const Piece* before = pieces_.empty() ? nullptr : &pieces_.back();
    const auto num_sites = static_cast<std::size_t>(piece.num_sites());
    const auto columns = static_cast<std::size_t>(piece.num_columns);
    piece.rows_at = piece.continues ? before->rows_at : rows_at_.size();
    if (!piece.continues) upper_ = add_rows(piece);
    piece.lower = is_symmetric ? 0 : upper_;
    const auto cells = static_cast<std::size_t>(upper_ + piece.lower);
    piece.span = before == nullptr ? 0 : before->span;
    if (before == nullptr || piece.end_rank - pieces_[piece.span].first_rank > kSpanSites) {
      piece.span = pieces_.size();
      piece.cells_at = sizes_.cells;
      sizes_.cells += cells;
    } else {
      piece.lines_at = before->lines_at + static_cast<std::size_t>(before->num_sites()) + 1;
    }
    piece.changes_at = sizes_.changes;
    sizes_.changes += 2 * columns * num_sites;
    if (before != nullptr && !piece.continues) {
      piece.entry_at = sizes_.entries;
      sizes_.entries +=
          3 * (static_cast<std::size_t>(before->num_columns) + columns) + kPairColumns;
      piece.index_at = sizes_.indices;
      sizes_.indices += columns;
    }
    sizes_.most_columns = std::max(sizes_.most_columns, columns);
    sizes_.most_cells = std::max(sizes_.most_cells, cells);
    sizes_.most_lines = std::max(sizes_.most_lines, piece.lines_at + num_sites + 1);
    pieces_.push_back(piece);
  }

  // Adds where the rows of a piece's tables begin; returns the number of cells of one table.
  std::int64_t add_rows(const Piece& piece) {
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < piece.block->num_states; ++i) {
      const std::int64_t begin = i / kPairColumns * kPairColumns;
      rows_at_.push_back(end - begin);
      end += piece.num_columns - begin;
    }
    return end;
  }

  std::vector<Piece> pieces_;
  std::vector<std::int64_t> rows_at_;
  std::int64_t upper_ = 0;  // cells of the last piece's upper table
  PieceSizes sizes_;
};

}  // namespace snvrag
