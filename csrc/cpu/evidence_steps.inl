// Sums over the carriers of a site, and logarithms of many floats; compiled for each level.

namespace snvrag::SNVRAG_LEVEL {
namespace {

void carrier_sums(const StateRecord* records, const std::uint64_t* bits, std::uint64_t flip,
                  std::int64_t num_states, CarrierSums* sums) {
  float sum[kRecordFloats] = {};
  float share = 0, length = 0;
  for (std::int64_t first = 0; first < num_states; first += 64) {
    std::uint64_t left = bits[first / 64] ^ flip;
    if (num_states - first < 64) left &= (std::uint64_t{1} << (num_states - first)) - 1;
    while (left != 0) {
      const StateRecord& record = records[first + __builtin_ctzll(left)];
      left &= left - 1;
      for (int i = 0; i < kRecordFloats; ++i) sum[i] += record.values[i];
      share = record.values[kShare] > share ? record.values[kShare] : share;
      length = record.length > length ? record.length : length;
    }
  }
  for (int i = 0; i < kRecordFloats; ++i) sums->values[i] = sum[i];
  sums->largest_share = share;
  sums->greatest_length = length;
}

// Sums the products of the states whose bit is that of `flip`, and of the others.
ProductSums product_sums(const float* first, const float* second, const std::uint64_t* bits,
                         std::uint64_t flip, std::int64_t num_words) {
  Floats all = zero_floats(), other = zero_floats();
  for (std::int64_t w = 0; w < num_words; ++w) {
    const std::uint64_t differ = bits[w] ^ flip;
    for (int v = 0; v < 64 / kFloatLanes; ++v) {
      const std::int64_t at = 64 * w + v * kFloatLanes;
      const Floats product = multiply(load_floats(first + at), load_floats(second + at));
      all = add(all, product);
      other = add_where(lane_mask(differ, v), other, product);
    }
  }
  return {horizontal_sum(all), horizontal_sum(other)};
}

// log(x) = e log 2 + 2 atanh((m - 1) / (m + 1)) for x = m 2^e with m from sqrt(1/2) to sqrt(2); the
// terms left out are below 1e-8.
void log_floats(float* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, values + i, sizeof bits);
    const auto exponent = static_cast<std::int32_t>(bits - 0x3f3504f3) >> 23;
    bits -= static_cast<std::uint32_t>(exponent) << 23;
    float mantissa;
    __builtin_memcpy(&mantissa, &bits, sizeof mantissa);
    const float s = (mantissa - 1) / (mantissa + 1), square = s * s;
    const float series =
        1 + square * (1.0f / 3 + square * (1.0f / 5 + square * (1.0f / 7 + square / 9)));
    values[i] = static_cast<float>(exponent) * 0.693147181f + 2 * s * series;
  }
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
