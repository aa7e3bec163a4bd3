// Steps of the forward algorithm over pairs of states; see kernels.inl for what a level provides.

namespace snvrag::SNVRAG_LEVEL {
namespace {

// From place kPairColumns - 1 - i % kPairColumns on, 1 for the columns j >= i of row i's first.
constexpr float kTriangle[2 * kPairColumns - 1] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// What a step has for the columns, in arrays of num_columns.
struct PairColumns {
  const float *first, *second;  // of the change
  const float *upper, *lower;   // emissions of F[i][j] and F[j][i] where i has allele 0, followed
                                // by those where it has allele 1; 0 past the last state
  float *upper_sums, *lower_sums;  // over the rows
};

void set_emissions(const PairStep& step) {
  const std::int64_t columns = step.table.num_columns;
  for (int allele = 0; allele < 2; ++allele) {
    float* upper = step.space + allele * columns;
    float* lower = upper + 2 * columns;
    const auto& emission = step.change.emission;
    const Floats upper0 = broadcast_floats(emission[allele][0]);
    const Floats upper1 = broadcast_floats(emission[allele][1]);
    const Floats lower0 = broadcast_floats(emission[0][allele]);
    const Floats lower1 = broadcast_floats(emission[1][allele]);
    for (std::int64_t j = 0; j < columns; j += kFloatLanes) {
      const LaneMask mask = lane_mask(step.change.bits[j / 64] >> (j % 64), 0);
      store_floats(upper + j, choose(mask, upper0, upper1));
      store_floats(lower + j, choose(mask, lower0, lower1));
    }
    for (std::int64_t j = step.table.num_states; j < columns; ++j) upper[j] = lower[j] = 0;
  }
}

enum class PairMode { symmetric, apart, swapping };

// Takes columns [begin, end) of NR rows one site further, and adds to the sums of the rows. With
// kIsFirst, they are the first columns, of which some are no pairs i <= j.
template <int NR, PairMode kMode, bool kIsFirst>
void pair_cells(const PairStep& step, const PairColumns& at, std::int64_t row, std::int64_t begin,
                std::int64_t end, Floats (&upper_sums)[NR], Floats (&lower_sums)[NR]) {
  constexpr bool kBoth = kMode != PairMode::symmetric;
  const std::int64_t lower = step.table.lower;
  const float *before[NR], *emission[NR];
  float* after[NR];
  Floats first[NR], second[NR];
  for (int r = 0; r < NR; ++r) {
    const std::int64_t i = row + r;
    before[r] = step.before + step.table.rows_at[i];
    after[r] = step.after + step.table.rows_at[i];
    const bool allele = (step.change.bits[i / 64] >> (i % 64) & 1) != 0;
    emission[r] = at.upper + (allele ? step.table.num_columns : 0);
    first[r] = broadcast_floats(step.change.both + at.first[i]);
    second[r] = broadcast_floats(step.change.both + at.second[i]);
  }
  [[maybe_unused]] const float* kept = kTriangle + kPairColumns - 1 - (row - begin);
  const std::int64_t to_lower = at.lower - at.upper;
  const Floats keep = broadcast_floats(step.change.keep);
  const Floats swap = broadcast_floats(step.change.swap);
  for (std::int64_t j = begin; j < end; j += kFloatLanes) {
    const Floats column_first = load_floats(at.first + j),
                 column_second = load_floats(at.second + j);
    Floats upper_sum = load_floats(at.upper_sums + j), lower_sum = zero_floats();
    if (kBoth) lower_sum = load_floats(at.lower_sums + j);
    for (int r = 0; r < NR; ++r) {
      const Floats one = load_floats(before[r] + j);
      Floats other = one;
      if (kBoth) other = load_floats(before[r] + lower + j);
      const auto changed = [&](Floats cell, Floats mirrored, Floats drawn, Floats emitted) {
        if (kMode == PairMode::swapping) drawn = multiply_add(mirrored, swap, drawn);
        Floats value = multiply(emitted, multiply_add(cell, keep, drawn));
        if (kIsFirst) value = multiply(value, load_floats(kept - r + (j - begin)));
        return value;
      };
      const Floats value =
          changed(one, other, add(first[r], column_second), load_floats(emission[r] + j));
      store_floats(after[r] + j, value);
      upper_sums[r] = add(upper_sums[r], value);
      upper_sum = add(upper_sum, value);
      if (kBoth) {
        const Floats mirrored = changed(other, one, add(second[r], column_first),
                                        load_floats(emission[r] + to_lower + j));
        store_floats(after[r] + lower + j, mirrored);
        lower_sums[r] = add(lower_sums[r], mirrored);
        lower_sum = add(lower_sum, mirrored);
      }
    }
    store_floats(at.upper_sums + j, upper_sum);
    if (kBoth) store_floats(at.lower_sums + j, lower_sum);
  }
}

// Takes NR rows that begin at the same column one site further.
template <int NR, PairMode kMode>
void pair_rows(const PairStep& step, const PairColumns& at, std::int64_t row) {
  const std::int64_t begin = row / kPairColumns * kPairColumns;
  Floats upper[NR], lower[NR];
  for (int r = 0; r < NR; ++r) upper[r] = lower[r] = zero_floats();
  pair_cells<NR, kMode, true>(step, at, row, begin, begin + kPairColumns, upper, lower);
  pair_cells<NR, kMode, false>(step, at, row, begin + kPairColumns, step.table.num_columns, upper,
                               lower);
  for (int r = 0; r < NR; ++r) {
    // A pair i = j is in both tables, or in a row and a column of the one.
    const float* same = step.after + step.table.rows_at[row + r] + row + r;
    step.first_sums[row + r] = horizontal_sum(upper[r]) - *same;
    step.second_sums[row + r] =
        horizontal_sum(kMode == PairMode::symmetric ? upper[r] : lower[r]) - *same;
  }
}

template <PairMode kMode>
void pair_step_of(const PairStep& step, const PairColumns& at) {
  std::int64_t row = 0;
  for (; row + kPairRows <= step.table.num_states; row += kPairRows) {
    pair_rows<kPairRows, kMode>(step, at, row);
  }
  for (; row < step.table.num_states; ++row) pair_rows<1, kMode>(step, at, row);
}

float pair_step(const PairStep& step) {
  const std::int64_t columns = step.table.num_columns;
  set_emissions(step);
  float *upper_sums = step.space + 4 * columns, *lower_sums = upper_sums + columns;
  for (std::int64_t j = 0; j < 2 * columns; ++j) upper_sums[j] = 0;
  const PairColumns at = {step.change.first,        step.change.second, step.space,
                          step.space + 2 * columns, upper_sums,         lower_sums};
  if (step.table.lower == 0) {
    pair_step_of<PairMode::symmetric>(step, at);
    lower_sums = upper_sums;
  } else if (step.change.swap == 0) {
    pair_step_of<PairMode::apart>(step, at);
  } else {
    pair_step_of<PairMode::swapping>(step, at);
  }
  for (std::int64_t j = step.table.num_states; j < columns; ++j) {
    step.first_sums[j] = step.second_sums[j] = 0;
  }
  Floats total = zero_floats();
  for (std::int64_t j = 0; j < columns; j += kFloatLanes) {
    // F[i][j] with i > j is in column i of the lower table's row j.
    const Floats sum = add(load_floats(step.first_sums + j), load_floats(lower_sums + j));
    store_floats(step.first_sums + j, sum);
    store_floats(step.second_sums + j,
                 add(load_floats(step.second_sums + j), load_floats(upper_sums + j)));
    total = add(total, sum);
  }
  return horizontal_sum(total);
}

void pair_line(const PairLine& line, const float* as_first, const float* as_second,
               float* first_after, float* second_after) {
  const PairChange& change = line.change;
  const bool allele = (change.bits[line.state / 64] >> (line.state % 64) & 1) != 0;
  const Floats keep = broadcast_floats(change.keep), swap = broadcast_floats(change.swap);
  const Floats first = broadcast_floats(change.both + change.first[line.state]);
  const Floats second = broadcast_floats(change.both + change.second[line.state]);
  const Floats first0 = broadcast_floats(change.emission[allele][0]);
  const Floats first1 = broadcast_floats(change.emission[allele][1]);
  const Floats second0 = broadcast_floats(change.emission[0][allele]);
  const Floats second1 = broadcast_floats(change.emission[1][allele]);
  for (std::int64_t k = 0; k < line.num_columns; k += kFloatLanes) {
    const LaneMask mask = lane_mask(change.bits[k / 64] >> (k % 64), 0);
    const Floats one = load_floats(as_first + k);
    Floats drawn = add(first, load_floats(change.second + k));
    const auto changed = [&](Floats cell) { return multiply_add(cell, keep, drawn); };
    if (as_second == nullptr) {
      store_floats(first_after + k, multiply(choose(mask, first0, first1), changed(one)));
      continue;
    }
    const Floats other = load_floats(as_second + k);
    drawn = multiply_add(other, swap, drawn);
    store_floats(first_after + k, multiply(choose(mask, first0, first1), changed(one)));
    drawn = multiply_add(one, swap, add(second, load_floats(change.first + k)));
    store_floats(second_after + k, multiply(choose(mask, second0, second1), changed(other)));
  }
}

void pair_lost(const PairTable& table, const float* cells, const float* lost, float* first,
               float* second) {
  for (std::int64_t j = 0; j < table.num_columns; ++j) first[j] = second[j] = 0;
  for (std::int64_t i = 0; i < table.num_states; ++i) {
    const float *upper = cells + table.rows_at[i], *lower = upper + table.lower;
    Floats upper_sum = zero_floats(), lower_sum = zero_floats();
    const Floats is_lost = broadcast_floats(lost[i]);
    for (std::int64_t j = i / kPairColumns * kPairColumns; j < table.num_columns;
         j += kFloatLanes) {
      const Floats one = load_floats(upper + j), other = load_floats(lower + j);
      const Floats column = load_floats(lost + j);
      upper_sum = multiply_add(one, column, upper_sum);
      lower_sum = multiply_add(other, column, lower_sum);
      if (lost[i] == 0) continue;
      store_floats(first + j, multiply_add(other, is_lost, load_floats(first + j)));
      store_floats(second + j, multiply_add(one, is_lost, load_floats(second + j)));
    }
    // A pair i = j is in both tables.
    const float same = lost[i] * upper[i];
    first[i] = (first[i] - same) + horizontal_sum(upper_sum);
    second[i] = (second[i] - same) + horizontal_sum(lower_sum);
  }
}

void pair_gather(const float* from, const std::int32_t* index, const float* known,
                 const float* shares, float share, std::int64_t num_columns, float* to) {
  const Floats all = broadcast_floats(share);
  for (std::int64_t j = 0; j < num_columns; j += kFloatLanes) {
    store_floats(to + j, multiply_add(gather_ascending(from, index + j), load_floats(known + j),
                                      add(all, load_floats(shares + j))));
  }
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
