// Steps of the forward-backward algorithm over all haplotypes; see kernels.inl for what a level
// provides. Arrays have 64 floats for each word of bits.

namespace snvrag::SNVRAG_LEVEL {
namespace {

constexpr int kWordVectors = 64 / kFloatLanes;

float li_stephens_forward(const LiStephensStep& step, const float* before, float* after) {
  const Floats keep = broadcast_floats(step.keep), jump = broadcast_floats(step.jump);
  const Floats ratio = broadcast_floats(step.ratio);
  Floats sum = zero_floats();
  for (std::int64_t w = 0; w < step.num_words; ++w) {
    const std::uint64_t differ = step.bits[w] ^ step.flip;
    for (int v = 0; v < kWordVectors; ++v) {
      const std::int64_t at = 64 * w + v * kFloatLanes;
      Floats value = multiply(jump, load_floats(step.prior + at));
      value = multiply_add(load_floats(before + at), keep, value);
      value = scale_where(lane_mask(differ, v), value, ratio);
      store_floats(after + at, value);
      sum = add(sum, value);
    }
  }
  return horizontal_sum(sum);
}

LiStephensSums li_stephens_backward(const LiStephensStep& step, const float* forward,
                                    float* backward, float* posterior) {
  const Floats keep = broadcast_floats(step.keep), jump = broadcast_floats(step.jump);
  const Floats ratio = broadcast_floats(step.ratio);
  Floats total = zero_floats(), next = zero_floats();
  for (std::int64_t w = 0; w < step.num_words; ++w) {
    const std::uint64_t differ = step.bits[w] ^ step.flip;
    for (int v = 0; v < kWordVectors; ++v) {
      const std::int64_t at = 64 * w + v * kFloatLanes;
      const Floats chosen = multiply(jump, load_floats(step.prior + at));
      const Floats here = multiply_add(load_floats(backward + at), keep, chosen);
      const Floats product = multiply(load_floats(forward + at), here);
      store_floats(posterior + at, product);
      total = add(total, product);
      const Floats emitted = scale_where(lane_mask(differ, v), here, ratio);
      store_floats(backward + at, emitted);
      next = add(next, emitted);
    }
  }
  return {horizontal_sum(total), horizontal_sum(next)};
}

template <int kSites>
void li_stephens_sums_of(const float* first, const float* second, const std::uint64_t* bits,
                         std::int64_t stride, std::int64_t num_words, float* sums) {
  Floats sum[2][kSites];
  for (int s = 0; s < kSites; ++s) sum[0][s] = sum[1][s] = zero_floats();
  for (std::int64_t w = 0; w < num_words; ++w) {
    for (int v = 0; v < kWordVectors; ++v) {
      const std::int64_t at = 64 * w + v * kFloatLanes;
      const Floats one = load_floats(first + at), other = load_floats(second + at);
      for (int s = 0; s < kSites; ++s) {
        const LaneMask mask = lane_mask(bits[s * stride + w], v);
        sum[0][s] = add_where(mask, sum[0][s], one);
        sum[1][s] = add_where(mask, sum[1][s], other);
      }
    }
  }
  for (int s = 0; s < kSites; ++s) {
    sums[2 * s] = horizontal_sum(sum[0][s]);
    sums[2 * s + 1] = horizontal_sum(sum[1][s]);
  }
}

void li_stephens_sums(const float* first, const float* second, const std::uint64_t* bits,
                      std::int64_t stride, std::int64_t num_sites, std::int64_t num_words,
                      float* sums) {
  std::int64_t s = 0;
  for (; s + 4 <= num_sites; s += 4) {
    li_stephens_sums_of<4>(first, second, bits + s * stride, stride, num_words, sums + 2 * s);
  }
  for (; s < num_sites; ++s) {
    li_stephens_sums_of<1>(first, second, bits + s * stride, stride, num_words, sums + 2 * s);
  }
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
