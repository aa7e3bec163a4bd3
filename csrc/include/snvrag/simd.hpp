// Instruction-set levels and the level in use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snvrag {

// In ascending order of requirements. A build contains the levels of its architecture.
enum class SimdLevel : int { scalar = 0, neon = 1, avx2 = 2, avx512 = 3 };

const char* simd_level_name(SimdLevel level);

// Levels that this build contains and this machine runs, ascending; scalar is always among them.
const std::vector<SimdLevel>& available_simd_levels();

// The level in use: the highest available one, unless set. Safe to call from any thread.
SimdLevel simd_level();

// Throws std::invalid_argument for an unknown name or for a level that is not available.
void set_simd_level(const std::string& name);

}  // namespace snvrag
