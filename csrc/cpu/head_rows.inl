// The head over rows of evidence, its units across lanes; see kernels.inl for what a level
// provides.

namespace snvrag::SNVRAG_LEVEL {
namespace {

// With two vectors of units, as many multiply-adds in flight as the widest machine needs.
constexpr int kHeadRows = 4;

// Adds the share of NV vectors of units, from unit `first` on, to the sum of each of NR rows.
template <int NR, int NV>
void head_units(const HeadRows& head, std::int64_t row, std::int64_t first, Floats (&sums)[NR]) {
  const float* evidence = head.evidence + row * head.num_evidence;
  Floats hidden[NR][NV];
  for (int v = 0; v < NV; ++v) {
    const Floats bias = load_floats(head.hidden_bias + first + v * kFloatLanes);
    for (int r = 0; r < NR; ++r) hidden[r][v] = bias;
  }
  for (std::int64_t e = 0; e < head.num_evidence; ++e) {
    Floats weights[NV];
    for (int v = 0; v < NV; ++v) {
      weights[v] = load_floats(head.hidden_weight + e * head.num_units + first + v * kFloatLanes);
    }
    for (int r = 0; r < NR; ++r) {
      const Floats value = broadcast_floats(evidence[r * head.num_evidence + e]);
      for (int v = 0; v < NV; ++v) hidden[r][v] = multiply_add(value, weights[v], hidden[r][v]);
    }
  }
  for (int v = 0; v < NV; ++v) {
    const Floats weight = load_floats(head.output_weight + first + v * kFloatLanes);
    for (int r = 0; r < NR; ++r) {
      sums[r] = multiply_add(maximum(hidden[r][v], zero_floats()), weight, sums[r]);
    }
  }
}

template <int NR>
void head_of_rows(const HeadRows& head, std::int64_t row) {
  Floats sums[NR];
  for (int r = 0; r < NR; ++r) sums[r] = zero_floats();
  std::int64_t unit = 0;
  for (; unit + 2 * kFloatLanes <= head.num_units; unit += 2 * kFloatLanes) {
    head_units<NR, 2>(head, row, unit, sums);
  }
  if (unit < head.num_units) head_units<NR, 1>(head, row, unit, sums);
  for (int r = 0; r < NR; ++r) head.correction[row + r] = horizontal_sum(sums[r]);
}

void head_rows(const HeadRows& head) {
  std::int64_t row = 0;
  for (; row + kHeadRows <= head.num_rows; row += kHeadRows) head_of_rows<kHeadRows>(head, row);
  for (; row < head.num_rows; ++row) head_of_rows<1>(head, row);
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
