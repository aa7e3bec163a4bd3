"""Signals that end a long call, and threads that share indexes and arrays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from helpers import level
from snvrag import _core
from snvrag.kernels import HammingIndex, af_guided_masks, topk_l2

U8 = np.uint64

# Calls of several seconds at the slowest level, of which a fraction of a second passes.
LONG = {
    "hamming": "index.search(queries, 1, threads=1)",
    "weighted hamming": "index.search(queries[:500], 1, threads=1, weights=weights)",
    "l2": "topk_l2(vectors[:8_000], vectors, 1, threads=1)",
    "li_stephens": "li_stephens_dosage(queries, bits[:1024], **model(1024), threads=1)",
    "rates": "estimate_rates(queries, queries, **over_states, threads=1)",
    "evidence": "li_stephens_evidence(queries, queries, **over_states, **wanted, threads=1)",
    "phasings": "sample_phasings(queries[:2], queries[:3000], **over_states, **keys, threads=1)",
    "states": "retrieve_states(row[:, :313], bits[:20_000], **positions, threads=1)",
    "li_stephens of one query": "li_stephens_dosage(row, bits, **model(128_000), threads=1)",
}

INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
from snvrag import _core
from snvrag.kernels import HammingIndex, estimate_rates, li_stephens_dosage
from snvrag.kernels import li_stephens_evidence, retrieve_states, sample_phasings, topk_l2

# Background jobs of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
_core.set_simd_level("scalar")
index = HammingIndex(np.zeros((200_000, 16), np.uint64), num_sites=1024)
queries = np.zeros((5_000, 16), np.uint64)
weights = np.ones(1024, np.float32)
vectors = np.zeros((200_000, 64), np.float32)
row = np.zeros((1, 2_000), np.uint64)
bits = np.broadcast_to(row[:, :1_000], (128_000, 1_000))

def model(num_sites):
    return dict(num_haplotypes=64_000, observed=np.ones(num_sites, bool),
                cumulative_rho=np.zeros(num_sites), mismatch=0.01)

over_states = model(1024)
del over_states["num_haplotypes"]
keys = dict(keys=np.zeros(1, np.uint64), states=None)
wanted = dict(sites=np.arange(9), alt_count=np.zeros(9, np.int64))
positions = dict(num_haplotypes=64_000, observed=np.ones(20_000, bool),
                 position_cm=np.zeros(20_000))
ready = threading.Event()
sent = []

def interrupt():
    ready.wait()
    begun = time.process_time()
    while time.process_time() < begun + 0.2:  # spent in the search, which alone takes time
        time.sleep(0.01)
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
# The other thread runs only once this one releases the GIL, which the search does.
sys.setswitchinterval(1000)
ready.set()
try:
    {search}
except KeyboardInterrupt:
    print(time.process_time() - sent[0])
"""


@pytest.mark.parametrize("what", LONG)
def test_ctrl_c_ends_a_search_within_a_second(what):
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(search=LONG[what])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    # The time of the processor, as that of the clock depends on what else the machine does.
    assert float(ran.stdout) < 1


class AlarmError(Exception):
    """Raised by the handler below."""


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_ends_a_long_search():
    def handler(number: int, frame: Any) -> None:
        raise AlarmError

    # 6e10 words at the slowest level are minutes of work, of which a fraction of a second is done.
    before = signal.signal(signal.SIGALRM, handler)
    try:
        index = HammingIndex(np.zeros((200_000, 16), np.uint64), num_sites=1024)
        queries = np.zeros((20_000, 16), np.uint64)
        spent = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with level("scalar"), pytest.raises(AlarmError):
            index.search(queries, 1, threads=2)
        assert time.process_time() - spent < 10
        assert index.search(queries[:1], 1).indices.tolist() == [[0]]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_threads_share_an_index_and_a_dense_cache(simd_level):
    random = np.random.default_rng(0)
    index = HammingIndex(random.integers(0, 2**64, (500, 3), U8), num_sites=190)
    queries = random.integers(0, 2**62, (40, 3), U8)
    database = random.standard_normal((300, 17)).astype(np.float32)

    def searches(start: int, threads: int) -> list[np.ndarray]:
        dense = topk_l2(database[start:40], database, 5, threads=threads)
        return [*index.search(queries[start:], 5, threads=threads), *dense]

    expected = searches(0, 1)
    with ThreadPoolExecutor(8) as pool:
        starts = list(range(40)) * 5
        answers = pool.map(lambda start: searches(start, 1 + start % 3), starts)
        for start, found in zip(starts, answers, strict=True):
            assert all(map(np.array_equal, found, (want[start:] for want in expected)))


def test_excluded_haplotypes_are_read_before_anything_is_written():
    """An output may share memory with `exclude`."""
    random = np.random.default_rng(0)
    queries, panel = random.integers(0, 2**64, (9, 1), U8), random.integers(0, 2**64, (50, 1), U8)
    index = _core.HammingIndex.from_haplotypes(panel, 64, None)
    dense = random.standard_normal((50, 4)).astype(np.float32)
    for search in (
        lambda exclude, *out: index.search(queries, 7, exclude, None, 1, *out),
        lambda exclude, *out: _core.topk_l2(dense[:9], dense, 7, exclude, 1, *out),
    ):
        exclude = search(None)[1][:, :2]  # such as would be found
        expected = search(exclude.copy())
        memory = np.zeros(9 * 7, np.int64)
        shared, indices = memory[: 9 * 2].reshape(9, 2), memory.reshape(9, 7)
        shared[:] = exclude
        search(shared, np.zeros_like(expected[0]), indices)
        assert np.array_equal(indices, expected[1])


def test_what_is_checked_may_change_meanwhile():
    """Another thread writes to the arrays that lead to addresses: an error or an answer."""
    bits = np.zeros((100_000, 2), U8)
    columns = np.arange(64)
    observed = np.ones(128, bool)
    starts, stops = np.array([0, 1000]), np.array([1000, 2000])
    af = np.full(2000, 0.5)
    exclude = np.full((1, 40), -1)
    blocks, offsets = np.array([0, 64]), np.array([[0, 2, 4]])
    states, wanted = np.array([3, 40, 40, 41], np.int32), np.arange(9)
    model = (0.01, (blocks, offsets, states), exclude, None, 1)
    index = _core.HammingIndex.from_haplotypes(np.zeros((41, 2), U8), 128, None)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            columns[:] = 2**40
            observed[:] = False
            starts[1] = 2**40
            exclude[:] = np.arange(40)
            blocks[1] = wanted[3] = 2**40
            offsets[0, 1:] = states[2] = 2**30
            columns[:] = np.arange(64)
            observed[:] = True
            starts[1] = 1000
            exclude[:] = -1
            blocks[1], wanted[3], states[2] = 64, 3, 40
            offsets[0, 1:] = 2, 4

    calls = (
        lambda: _core.gather_columns(bits, 0, len(bits), columns),
        lambda: _core.HammingIndex.from_haplotypes(bits[:1000], 128, observed),
        lambda: _core.HammingIndex.from_sites(bits[:128], 128, observed),
        lambda: af_guided_masks(af, starts, stops, seed=0, rate=0.5),
        lambda: index.search(bits[:1], 1, exclude, None, 1),
        lambda: _core.li_stephens_dosage(
            bits[:1], bits[:128, :1], 41, observed, np.zeros(128), 0.01, exclude, None, 1
        ),
        lambda: _core.li_stephens_events(bits[:1], bits[:64], observed, np.zeros(128), *model),
        lambda: _core.li_stephens_evidence(
            bits[:1], bits[:64], observed, wanted, wanted, np.zeros(128), *model
        ),
        lambda: _core.sample_phasings(
            bits[:2],
            bits[:64],
            observed,
            np.zeros(128),
            0.01,
            (blocks, offsets, states),
            bits[0, :1],
            0,
            None,
            0.1,
            exclude,
            None,
            2,
            1,
        ),
        lambda: _core.retrieve_states(
            *(bits[:1], bits[:128, :1], 41, observed, np.zeros(128), 2, 8, 0.1, exclude),
            *(None, None, 1, 1),
        ),
    )
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            for call in calls:
                with contextlib.suppress(ValueError):
                    call()
    finally:
        done.set()
        writer.join()


FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@pytest.mark.skipif(not FREE_THREADED, reason="this Python has a GIL")
def test_the_module_leaves_the_gil_off():
    code = "import sys, snvrag._core; print(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "False\n", ran.stderr
