#include "testing.hpp"
namespace snvrag::testing {
void test_states() {}
}
