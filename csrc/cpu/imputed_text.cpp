#include "snvrag/imputed_text.hpp"

#include <algorithm>
#include <array>
#include <cstring>

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

char* put_diploid(char* out, std::uint32_t first, std::uint32_t second) {
  const std::uint32_t both = (first * second + kSure / 2) / kSure;
  const std::uint32_t none = ((kSure - first) * (kSure - second) + kSure / 2) / kSure;
  const std::uint32_t one = kSure - none - both;
  const bool is_hom = both > none && both > one;
  const bool is_het = !is_hom && one > none;
  *out++ = '\t';
  *out++ = is_hom || (is_het && first >= second) ? '1' : '0';
  *out++ = '|';
  *out++ = is_hom || (is_het && first < second) ? '1' : '0';
  out = put(out, ':', first + second);
  out = put(out, ':', first);
  out = put(out, ',', second);
  out = put(out, ':', none);
  out = put(out, ',', one);
  return put(out, ',', both);
}

}  // namespace

char* write_cells(const ImputedDosages& dosages, std::int64_t record, char* out) {
  constexpr char kNone[] = "\t0|0:0:0,0:1,0,0";
  const std::uint16_t* pair = dosages.hap_dosage + 2 * dosages.num_samples * record;
  for (std::int64_t i = 0; i < dosages.num_samples; ++i, pair += 2) {
    const std::uint32_t first = pair[0], second = pair[1];
    if (std::max(first, second) > kSure) return nullptr;
    if (dosages.haploid[i]) {
      out = put_haploid(out, first);
    } else if ((first | second) == 0) {  // most cells
      std::memcpy(out, kNone, sizeof kNone - 1);
      out += sizeof kNone - 1;
    } else {
      out = put_diploid(out, first, second);
    }
  }
  return out;
}

}  // namespace snvrag
