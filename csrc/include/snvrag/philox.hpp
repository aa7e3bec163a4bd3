// Philox4x64-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3" (SC 2011), in NumPy's order: the counter is incremented before a block is drawn, so
// block b of a new generator has counter b + 1.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SNVRAG_HOST_DEVICE __host__ __device__
#else
#define SNVRAG_HOST_DEVICE
#endif

namespace snvrag {

struct PhiloxKey {
  std::uint64_t low, high;
};

struct PhiloxBlock {
  std::uint64_t word[4];
};

SNVRAG_HOST_DEVICE inline std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(a, b);
#elif defined(__SIZEOF_INT128__)
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(a) * b) >> 64);
#else
  const std::uint64_t a_low = a & 0xffffffffu, a_high = a >> 32;
  const std::uint64_t b_low = b & 0xffffffffu, b_high = b >> 32;
  const std::uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);
  const std::uint64_t other = a_low * b_high + (middle & 0xffffffffu);
  return a_high * b_high + (middle >> 32) + (other >> 32);
#endif
}

// The ten-round bijection of one counter under one key.
SNVRAG_HOST_DEVICE inline PhiloxBlock philox4x64(PhiloxBlock counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = 0xD2E7470EE14C6C93u * counter.word[0];
    const std::uint64_t high0 = multiply_high(0xD2E7470EE14C6C93u, counter.word[0]);
    const std::uint64_t product1 = 0xCA5A826395121157u * counter.word[2];
    const std::uint64_t high1 = multiply_high(0xCA5A826395121157u, counter.word[2]);
    counter = {{high1 ^ counter.word[1] ^ key.low, product1, high0 ^ counter.word[3] ^ key.high,
                product0}};
    key.low += 0x9E3779B97F4A7C15u;
    key.high += 0xBB67AE8584CAA73Bu;
  }
  return counter;
}

// Converts a word to a double as NumPy's Generator.random() does: 53 bits in [0, 1).
SNVRAG_HOST_DEVICE inline double unit_double(std::uint64_t word) {
  return static_cast<double>(word >> 11) * (1.0 / 9007199254740992.0);
}

// Key of a window's mask. The quotient in the upper half keeps the keys of windows from 10,000 on
// distinct from those of the next seed.
SNVRAG_HOST_DEVICE inline PhiloxKey mask_key(std::uint64_t seed, std::uint64_t window) {
  return {seed * 10000u + window, window / 10000u};
}

}  // namespace snvrag
