#!/usr/bin/env bash
# Builds the package on a machine with a GPU, tests the CUDA kernels, times them and checks their
# memory accesses. Needs Python with torch, numba, pybind11, scikit-build-core and pytest, and nvcc;
# no network.
#
#   bench/run_gpu.sh [folder for the logs]
#
# PYTHON chooses the interpreter. A step whose tool is missing is left out, with a line.
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
logs=${1:-build/gpu}
mkdir -p "$logs"
export PYTHONUNBUFFERED=1 SNVRAG_REQUIRE_GPU=1

echo "== build"
"$python" -m pip install --no-build-isolation --no-deps \
  --config-settings=cmake.define.SNVRAG_CUDA=ON . 2>&1 | tee "$logs/build.log" | tail -n 3
(cd / && "$python" -c "
import snvrag
from snvrag import _cuda
print(snvrag.build_info(), _cuda.compiled_architectures(), _cuda.device_count())")

echo "== tests"
"$python" -m pytest tests/kernels/cuda tests/batches tests/retrieval tests/training/test_on_device.py \
  tests/imputation/test_network_imputer.py tests/test_torch_ops.py tests/test_speed_of_a_step.py -q -p no:cacheprovider 2>&1 |
  tee "$logs/tests.log"

echo "== benchmark"
"$python" bench/gpu_kernels.py 2>&1 | tee "$logs/bench.md"
"$python" bench/gpu_training.py 2>&1 | tee "$logs/bench_training.md"

# Last, because it is slow. Without torch's caching allocator every array is an allocation of its
# own, so that an access past its end is found; graphs need that allocator, so their tests are not
# run.
echo "== compute-sanitizer"
if ! command -v compute-sanitizer > /dev/null; then
  echo "compute-sanitizer is not installed: left out"
elif ! compute-sanitizer --tool memcheck "$python" -c \
  "import torch; torch.zeros(1).cuda()" > "$logs/sanitizer.log" 2>&1; then
  echo "compute-sanitizer cannot run on this device: left out (see $logs/sanitizer.log)"
else
  check() {
    local tool=$1 tests=$2
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$python" -m pytest tests/kernels/cuda -q -p no:cacheprovider -k "$tests" 2>&1 |
      tee "$logs/$tool.log" | tail -n 15
  }
  check memcheck "torch and not cupy and not graph and not 300000 and not long"
  check racecheck "torch and (test_hamming_selection and (5008 or 6000) or weighted_selection and 5008 or whole_numbers)"
fi
