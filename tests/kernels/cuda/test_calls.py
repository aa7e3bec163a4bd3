"""CUDA arrays of any kind: detection, streams, graphs, gradients and errors."""

import importlib

import numpy as np
import pytest

import snvrag
from helpers import assert_topk, expected_hamming, expected_weighted, random_bits
from snvrag import kernels
from snvrag.kernels import cuda, oracle


def test_extension_loads_without_a_device():
    if not snvrag.build_info()["cuda"]:
        pytest.skip("snvrag._cuda was not built")
    extension = importlib.import_module("snvrag._cuda")
    assert isinstance(extension.device_count(), int)
    assert extension.compiled_architectures() == sorted(extension.compiled_architectures())


@pytest.mark.parametrize("x", [None, 3, [1.0], np.zeros(3), "cuda"])
def test_host_values_are_no_device_arrays(x):
    assert not cuda.is_device_array(x)


def test_other_memory_is_no_device_array():
    class Elsewhere:
        def __init__(self, answer):
            self.answer = answer

        def __dlpack_device__(self):
            if self.answer is None:
                raise ValueError("no such device")
            return self.answer

    assert not cuda.is_device_array(Elsewhere((1, 0)))
    assert not cuda.is_device_array(Elsewhere(None))
    assert cuda.is_device_array(Elsewhere((2, 0)))


def test_unknown_device_array_is_a_type_error():
    class Stranger:
        shape = (1, 1)

        def __dlpack_device__(self):
            return (2, 0)

    with pytest.raises(TypeError, match="database must be a torch or CuPy array"):
        kernels.topk_l2(np.zeros((1, 1), np.float32), Stranger(), 1)


def test_work_goes_to_the_current_stream(torch_gpu, rng):
    torch = torch_gpu.torch
    panel_bits, query_bits = random_bits(rng, 3_000, 256), random_bits(rng, 20, 256)
    want = oracle.topk_hamming(query_bits, panel_bits, 5, num_sites=256)
    source, queries = torch_gpu.put(panel_bits.view(np.int64)), torch_gpu.put(query_bits)
    panel = torch.zeros_like(source)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # on another stream, the zeros would be searched
        panel.copy_(source)
        got = kernels.topk_hamming(queries, panel, 5, num_sites=256)
    stream.synchronize()
    assert_topk(torch_gpu, got, want, np.int32)


@pytest.mark.parametrize("weighted", [False, True])
def test_search_is_captured_by_a_graph(torch_gpu, rng, weighted):
    """Which is refused for work that synchronises, or that leaves the stream."""
    torch = torch_gpu.torch
    panel_bits, query_bits = random_bits(rng, 20_000, 300), random_bits(rng, 20, 300)
    exclude = rng.integers(-1, 20_000, (20, 2))
    observed = rng.random(300) < 0.5
    panel, queries = torch_gpu.put(panel_bits), torch_gpu.put(np.zeros_like(query_bits))
    mask, dropped = torch_gpu.put(observed), torch_gpu.put(exclude)
    weights = rng.random(300).astype(np.float32)
    options = {"weights": torch_gpu.put(weights)} if weighted else {}

    def work():
        index = cuda.DeviceHammingIndex(panel, num_sites=300, observed=mask)
        return index.search(queries, 5, exclude=dropped, **options)

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = work()
    queries.view(torch.int64).copy_(torch_gpu.put(query_bits.view(np.int64)))
    graph.replay()
    torch.cuda.synchronize()
    if weighted:
        want = expected_weighted(query_bits, panel_bits, 5, 300, weights, observed, exclude)
    else:
        want = expected_hamming(query_bits, panel_bits, 5, 300, observed, exclude)
    assert_topk(torch_gpu, got, want, np.float32 if weighted else np.int32)


def test_gradients_are_left_behind(torch_gpu):
    database = torch_gpu.torch.eye(4, device="cuda", requires_grad=True)
    got = kernels.topk_l2(database, database, 1)
    assert not got.distances.requires_grad
    np.testing.assert_array_equal(torch_gpu.get(got.indices)[:, 0], np.arange(4))


def test_errors(gpu, rng):
    panel, queries = gpu.put(random_bits(rng, 5, 64)), gpu.put(random_bits(rng, 2, 64))
    good = {"queries": queries, "panel": panel, "k": 1, "num_sites": 64}
    for changes, error, text in (
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": 6}, ValueError, "k must be at most 5 .*, got 6"),
        ({"k": 1.5}, TypeError, "k must be an int, got float"),
        ({"num_sites": 65}, ValueError, r"panel must be of 2 words a row \(65 sites\), got 1"),
        ({"panel": gpu.put(np.zeros((5, 1)))}, TypeError, "panel must be .*, got dtype float64"),
        ({"queries": random_bits(rng, 2, 64)}, TypeError, "queries must be .*, got ndarray"),
        ({"observed": np.ones(63, bool)}, ValueError, r"observed must be .*, got shape \(63,\)"),
        ({"exclude": np.array([[0], [5]])}, ValueError, "exclude must be .*, got 5 for query 1"),
        ({"exclude": np.zeros((2, 1), "i4")}, TypeError, "exclude must be .*, got dtype int32"),
    ):
        with pytest.raises(error, match=text):
            kernels.topk_hamming(**{**good, **changes})
    with pytest.raises(TypeError, match=r"queries must be .*, got dtype float64"):
        kernels.topk_l2(gpu.put(np.zeros((1, 2))), gpu.put(np.zeros((1, 2))), 1)
    mask = {"seed": 1, "window": 0, "rate": 0.5}
    with pytest.raises(TypeError, match=r"af must be .*, got dtype float32"):
        kernels.af_guided_mask(gpu.put(np.zeros(3, np.float32)), **mask)
