#include "snvrag/imputed_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "snvrag/bits.hpp"

namespace snvrag {
namespace {

constexpr std::uint32_t kSure = kSureDosage;

// The shortest text of a number of thousandths: 1002 is "1.002", 20 is "0.02".
struct Number {
  char text[7];
  std::uint8_t length;
};

std::array<Number, 2 * kSure + 1> make_numbers() {
  std::array<Number, 2 * kSure + 1> numbers{};
  for (std::uint32_t n = 0; n < numbers.size(); ++n) {
    Number& number = numbers[n];
    const char digits[5] = {static_cast<char>('0' + n / 1000), '.',
                            static_cast<char>('0' + n / 100 % 10),
                            static_cast<char>('0' + n / 10 % 10), static_cast<char>('0' + n % 10)};
    std::memcpy(number.text, digits, 5);
    number.length = 5;
    while (number.length > 2 && digits[number.length - 1] == '0') --number.length;
    if (number.length == 2) number.length = 1;
  }
  return numbers;
}

const std::array<Number, 2 * kSure + 1> kNumbers = make_numbers();

// Writes up to eight bytes, of which those after the end are overwritten.
char* put(char* out, char separator, std::uint32_t thousandths) {
  const Number& number = kNumbers[thousandths];
  *out = separator;
  std::memcpy(out + 1, number.text, 5);
  return out + 1 + number.length;
}

char* put_haploid(char* out, std::uint32_t dosage) {
  *out++ = '\t';
  *out++ = 2 * dosage > kSure ? '1' : '0';
  out = put(out, ':', dosage);
  out = put(out, ':', dosage);
  out = put(out, ':', kSure - dosage);
  return put(out, ',', dosage);
}

// With kIsProduct, `hom_alt` is not read. A call takes a tenth of the time of the text.
template <bool kIsProduct>
[[gnu::always_inline]] inline char* put_diploid(char* out, std::uint32_t first,
                                                std::uint32_t second, std::uint32_t hom_alt) {
  const std::uint32_t dosage = first + second;
  std::uint32_t both, none;
  if constexpr (kIsProduct) {
    both = (first * second + kSure / 2) / kSure;
    none = ((kSure - first) * (kSure - second) + kSure / 2) / kSure;
  } else {
    both = std::clamp(hom_alt, dosage > kSure ? dosage - kSure : 0, dosage / 2);
    none = kSure - dosage + both;
  }
  const bool is_alt_first = kIsProduct ? first >= second : first > second;
  const std::uint32_t one = kSure - none - both;
  const bool is_hom = both > none && both > one;
  const bool is_het = !is_hom && one > none;
  *out++ = '\t';
  *out++ = is_hom || (is_het && is_alt_first) ? '1' : '0';
  *out++ = '|';
  *out++ = is_hom || (is_het && !is_alt_first) ? '1' : '0';
  out = put(out, ':', dosage);
  out = put(out, ':', first);
  out = put(out, ',', second);
  out = put(out, ':', none);
  out = put(out, ',', one);
  return put(out, ',', both);
}

// Returns nullptr if the phase set is negative.
char* put_phase_set(char* out, std::int32_t phase_set) {
  *out++ = ':';
  if (phase_set == 0) {
    *out++ = '.';
    return out;
  }
  if (phase_set < 0) return nullptr;
  return std::to_chars(out, out + kMaxPhaseSetBytes - 1, phase_set).ptr;
}

// With kPhased, there is neither a `hom_alt` nor a `phase_set`.
template <bool kPhased>
char* write_cells_of(const ImputedDosages& dosages, std::int64_t record, char* out) {
  constexpr char kNone[] = "\t0|0:0:0,0:1,0,0";
  const std::int64_t start = dosages.num_samples * record;
  const std::uint16_t* pair = dosages.hap_dosage + 2 * start;
  for (std::int64_t i = 0; i < dosages.num_samples; ++i, pair += 2) {
    const std::uint32_t first = pair[0], second = pair[1];
    if (std::max(first, second) > kSure) return nullptr;
    if (dosages.haploid[i]) {
      out = put_haploid(out, first);
    } else if ((first | second) == 0) {  // most cells
      std::memcpy(out, kNone, sizeof kNone - 1);
      out += sizeof kNone - 1;
    } else if (kPhased || dosages.hom_alt == nullptr || dosages.hom_alt[start + i] == kProduct) {
      out = put_diploid<true>(out, first, second, 0);
    } else {
      out = put_diploid<false>(out, first, second, dosages.hom_alt[start + i]);
    }
    if (!kPhased && dosages.phase_set != nullptr) {
      out = put_phase_set(out, dosages.phase_set[start + i]);
      if (out == nullptr) return nullptr;
    }
  }
  return out;
}

}  // namespace

char* write_cells(const ImputedDosages& dosages, std::int64_t record, char* out) {
  if (dosages.hom_alt == nullptr && dosages.phase_set == nullptr) {
    return write_cells_of<true>(dosages, record, out);
  }
  return write_cells_of<false>(dosages, record, out);
}

char* write_phased_cells(const PhasedGenotypes& genotypes, std::int64_t record, char* out) {
  const std::int64_t n = genotypes.num_samples, words = num_words(2 * n);
  const std::uint64_t* alleles = genotypes.alleles + words * record;
  const std::uint64_t* missing = genotypes.missing + words * record;
  const auto letter = [alleles, missing](std::int64_t at) {
    return has_bit(missing, at) ? '.' : has_bit(alleles, at) ? '1' : '0';
  };
  for (std::int64_t i = 0; i < n; ++i) {
    *out++ = '\t';
    *out++ = letter(2 * i);
    if (!genotypes.haploid[i]) {
      *out++ = '|';
      *out++ = letter(2 * i + 1);
    }
    out = put_phase_set(out, genotypes.phase_set[n * record + i]);
    if (out == nullptr) return nullptr;
  }
  return out;
}

}  // namespace snvrag
