#include "snvrag/simd.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "kernel_table.hpp"

namespace snvrag {
namespace {

bool machine_runs(SimdLevel level) {
  switch (level) {
    case SimdLevel::scalar:
      return true;
#if defined(SNVRAG_HAVE_AVX2)
    case SimdLevel::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
             __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
             __builtin_cpu_supports("fma");
#endif
#if defined(SNVRAG_HAVE_AVX512)
    case SimdLevel::avx512:
      return machine_runs(SimdLevel::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
             __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("gfni");
#endif
#if defined(SNVRAG_HAVE_NEON)
    case SimdLevel::neon:
      return true;
#endif
    default:
      return false;
  }
}

const KernelTable& table_of(SimdLevel level) {
  switch (level) {
#if defined(SNVRAG_HAVE_AVX2)
    case SimdLevel::avx2:
      return avx2::kKernels;
#endif
#if defined(SNVRAG_HAVE_AVX512)
    case SimdLevel::avx512:
      return avx512::kKernels;
#endif
#if defined(SNVRAG_HAVE_NEON)
    case SimdLevel::neon:
      return neon::kKernels;
#endif
    default:
      return scalar::kKernels;
  }
}

SimdLevel level_named(const std::string& name) {
  std::string names;
  for (SimdLevel level : available_simd_levels()) {
    if (name == simd_level_name(level)) return level;
    names += std::string(names.empty() ? "" : ", ") + simd_level_name(level);
  }
  throw std::invalid_argument("SNVRAG_SIMD must be one of this machine's levels (" + names +
                              "), got " + name);
}

std::atomic<SimdLevel>& level_in_use() {
  static std::atomic<SimdLevel> level{[] {
    const char* wanted = std::getenv("SNVRAG_SIMD");
    return wanted && *wanted ? level_named(wanted) : available_simd_levels().back();
  }()};
  return level;
}

}  // namespace

const char* simd_level_name(SimdLevel level) {
  static const char* const names[] = {"scalar", "neon", "avx2", "avx512"};
  return names[static_cast<int>(level)];
}

const std::vector<SimdLevel>& available_simd_levels() {
  static const std::vector<SimdLevel> levels = [] {
#if defined(SNVRAG_HAVE_AVX2)
    __builtin_cpu_init();
#endif
    std::vector<SimdLevel> found;
    for (SimdLevel level :
         {SimdLevel::scalar, SimdLevel::neon, SimdLevel::avx2, SimdLevel::avx512}) {
      if (machine_runs(level)) found.push_back(level);
    }
    return found;
  }();
  return levels;
}

SimdLevel simd_level() { return level_in_use().load(std::memory_order_relaxed); }

void set_simd_level(const std::string& name) {
  level_in_use().store(level_named(name), std::memory_order_relaxed);
}

const KernelTable& kernels() { return table_of(simd_level()); }

}  // namespace snvrag
