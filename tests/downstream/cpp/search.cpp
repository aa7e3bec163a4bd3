// Packs haplotypes, searches them, and prints "distance index" of each neighbour.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "snvrag/hamming.hpp"
#include "snvrag/packing.hpp"
#include "snvrag/simd.hpp"

int main() {
  constexpr std::int64_t num_haplotypes = 20, num_sites = 70, k = 3;
  std::vector<std::uint8_t> alleles;
  for (std::int64_t h = 0; h < num_haplotypes; ++h) {
    for (std::int64_t s = 0; s < num_sites; ++s) alleles.push_back((s * (h + 3)) % 7 < 3);
  }
  std::vector<std::uint64_t> bits(num_haplotypes * snvrag::num_words(num_sites));
  snvrag::pack_rows(alleles.data(), num_haplotypes, num_sites, num_sites, 1, bits.data());

  const auto index = snvrag::HammingIndex::from_haplotypes(bits.data(), num_haplotypes, num_sites,
                                                           snvrag::num_words(num_sites), nullptr);
  snvrag::HammingQueries queries{};  // the first haplotype, and none excluded
  queries.bits = bits.data();
  queries.num_queries = 1;
  queries.row_stride = snvrag::num_words(num_sites);
  queries.k = k;
  std::int32_t distances[k];
  std::int64_t indices[k];
  index.search(queries, /*num_threads=*/1, distances, indices);
  for (int i = 0; i < k; ++i) {
    std::printf("%d %lld\n", distances[i], static_cast<long long>(indices[i]));
  }
  std::fprintf(stderr, "%s\n", snvrag::simd_level_name(snvrag::simd_level()));
}
