// Cancellation of long calls.
#pragma once

#include <atomic>

namespace snvrag {

// Set by another thread to end a long search early; may be null.
using CancelFlag = const std::atomic<bool>*;

}  // namespace snvrag
