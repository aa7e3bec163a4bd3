"""Time the CUDA kernels beside torch.cdist + topk and FAISS, answers checked; print a table.

    python bench/bench_gpu.py [--repeats 30] [--haplotypes 5008 100000 1000000]

"call" is what a caller in a loop waits for, Python included; "device" is a CUDA graph of the same
work replayed, without Python. "traffic" is the least that the work must read and write, every array
once, over the device time (the call's where there is none); "of copy" is its share of what a
device-to-device copy reaches. FAISS is compared with where its GPU build can be imported.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

NUM_SITES, HIDDEN, K = 1020, 0.6, 8


class Timer:
    """Medians of CUDA event times, in milliseconds."""

    def __init__(self, torch: Any, repeats: int) -> None:
        self.torch = torch
        self.repeats = repeats

    def _median(self, work: Callable[[], Any], calls: int) -> float:
        torch, times = self.torch, []
        for _ in range(self.repeats):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                work()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop) / calls)
        return statistics.median(times)

    def call(self, work: Callable[[], Any]) -> float:
        """Time a call, in a row of calls."""
        for _ in range(3):
            work()
        self.torch.cuda.synchronize()
        return self._median(work, 5)

    def device(self, work: Callable[[], Any]) -> float | None:
        """Return None for work that cannot be captured."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                kept = work()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        for _ in range(3):
            graph.replay()
        time = self._median(graph.replay, 5)
        del kept
        return time


class Table:
    """Rows of a markdown table, with the bandwidth of a copy to compare with."""

    def __init__(self, timer: Timer) -> None:
        torch = timer.torch
        source = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        milliseconds = timer.call(lambda: target.copy_(source))
        self.timer = timer
        self.copy_bytes_per_second = 2 * source.numel() / milliseconds * 1e3
        self.rows: list[str] = []

    def add(
        self, what: str, work: Callable[[], Any], num_bytes: int, *, captured: bool = True
    ) -> None:
        """Time a piece of work and keep its row; not captured, it has no time without Python."""
        call = self.timer.call(work)
        device = self.timer.device(work) if captured else None
        rate = num_bytes / (call if device is None else device) * 1e3
        self.rows.append(
            f"| {what} | {call:.3f} | {'-' if device is None else f'{device:.3f}'} "
            f"| {rate / 1e9:.1f} | {rate / self.copy_bytes_per_second:.1%} |"
        )

    def print(self) -> None:
        """Print what was added."""
        torch = self.timer.torch
        print(
            f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, copy at "
            f"{self.copy_bytes_per_second / 1e9:.0f} GB/s, {NUM_SITES} sites, "
            f"{HIDDEN:.0%} hidden, k = {K}\n"
        )
        print("| | call, ms | device, ms | traffic, GB/s | of copy |")
        print("| --- | ---: | ---: | ---: | ---: |")
        print("\n".join(self.rows))
        if faiss_for_gpus() is None:
            print("\nFAISS for GPUs is not installed here: not compared with")


def expected(torch: Any, queries: Any, panel: Any, observed: Any, weights: Any = None) -> Any:
    """Order every (distance, index) of a few queries at a time, from unpacked alleles."""
    keys = []
    rows = panel[:, observed].double()
    index = torch.arange(rows.shape[0], device=rows.device)
    unit, counts = 1.0, torch.ones(rows.shape[1], dtype=torch.float64, device=rows.device)
    if weights is not None:  # as integers, whose sums float64 holds
        seen = weights[observed].double()
        unit = 2.0 ** (math.frexp(float(seen.sum()))[1] - 1 - 29)
        counts = (seen / unit).round()
    for query in queries[:, observed].double():
        distance = rows @ (counts * (1 - 2 * query)) + (counts * query).sum()
        ordered = (
            distance.long() if weights is None else (distance.float() * unit).view(torch.int32)
        )
        keys.append(torch.sort((ordered.long() << 32) | index).values[:K])
    key = torch.stack(keys)
    distance = (key >> 32).int()
    return distance if weights is None else distance.view(torch.float32), key & 0xFFFFFFFF


def faiss_for_gpus() -> Any:
    """Return FAISS with its torch interface, or None."""
    try:
        import faiss
        import faiss.contrib.torch_utils
    except ImportError:
        return None
    return faiss if hasattr(faiss, "StandardGpuResources") else None


def bench_masks(table: Table, torch: Any) -> None:
    from snvrag.kernels import _device, af_guided_masks

    rng = np.random.default_rng(1)
    num_windows = 331
    af = rng.random(num_windows * NUM_SITES) ** 3
    starts = np.arange(num_windows) * NUM_SITES
    on_device = torch.tensor(af, device="cuda")
    ends = [torch.tensor(x, device="cuda") for x in (starts, starts + NUM_SITES)]

    def work() -> Any:
        return _device.af_guided_masks(on_device, *ends, seed=3, rate=0.5)

    want = af_guided_masks(af, starts, starts + NUM_SITES, seed=3, rate=0.5)
    assert np.array_equal(work().cpu().numpy(), want)
    table.add(f"masks of {num_windows} windows", work, 9 * af.size)


def bench_hamming(table: Table, torch: Any, num_haplotypes: int, block_bytes: int) -> None:
    from snvrag.kernels import _device, pack_haplotypes

    rng = np.random.default_rng(2)
    frequency = rng.random(NUM_SITES) ** 3
    founders = rng.random((200, NUM_SITES)) < frequency
    # Mosaics of founders with a few changes, so that distances cluster as real ones do.
    alleles = np.empty((num_haplotypes, NUM_SITES), np.uint8)
    for start in range(0, NUM_SITES, 170):
        part = founders[rng.integers(0, len(founders), num_haplotypes), start : start + 170]
        alleles[:, start : start + 170] = part
    changed = rng.integers(0, NUM_SITES, (num_haplotypes, 3))
    np.put_along_axis(alleles, changed, rng.integers(0, 2, changed.shape, np.uint8), axis=1)
    observed = rng.random(NUM_SITES) >= HIDDEN
    dense = torch.tensor(alleles, device="cuda")
    panel = torch.tensor(pack_haplotypes(alleles).view(np.int64), device="cuda")
    mask = torch.tensor(observed, device="cuda")

    def build() -> Any:
        return _device.DeviceHammingIndex(panel, num_sites=NUM_SITES, observed=mask)

    index = build()
    num_words = -(-int(observed.sum()) // 64)
    name = f"H = {num_haplotypes:,}"
    table.add(f"index build, {name}", build, 8 * num_haplotypes * (panel.shape[1] + num_words))
    site_bits = torch.tensor(
        pack_haplotypes(np.ascontiguousarray(alleles.T)).view(np.int64), device="cuda"
    )

    def build_from_sites() -> Any:
        return _device.DeviceHammingIndex.from_sites(
            site_bits, num_haplotypes=num_haplotypes, observed=mask
        )

    same = build_from_sites().search(panel[:16], K), index.search(panel[:16], K)
    assert all(torch.equal(x, y) for x, y in zip(*same, strict=True))
    traffic = 8 * (int(observed.sum()) * site_bits.shape[1] + num_haplotypes * num_words)
    table.add(f"index build from sites, {name}", build_from_sites, traffic)
    weights = torch.rand(NUM_SITES, device="cuda")
    for num_queries in (48, 1024):
        queries = panel[:num_queries].clone()

        def search(queries: Any = queries) -> Any:
            return index.search(queries, K, block_bytes=block_bytes)

        few = slice(0, 16)
        for got, want in zip(search(), expected(torch, dense[few], dense, mask), strict=True):
            assert torch.equal(got[few], want)
        traffic = 8 * num_words * (num_haplotypes + num_queries) + 12 * num_queries * K
        table.add(f"Hamming top-k, {name}, Q = {num_queries}", search, traffic)

        def weigh(queries: Any = queries) -> Any:
            return index.search(queries, K, weights=weights, block_bytes=block_bytes)

        answer = expected(torch, dense[few], dense, mask, weights)
        for got, want in zip(weigh(), answer, strict=True):
            assert torch.equal(got[few], want)
        table.add(f"weighted top-k, {name}, Q = {num_queries}", weigh, traffic + 4 * NUM_SITES)
        bench_faiss_bits(table, alleles[:, observed], num_queries, search()[0], traffic, name)
        if num_queries * num_haplotypes > 2 * 10**8:
            continue  # cdist's matrix would be too large to be a fair choice
        rows = dense[:, mask].float()

        def cdist(rows: Any = rows, num_queries: int = num_queries) -> Any:
            return torch.topk(torch.cdist(rows[:num_queries], rows), K, largest=False)

        squares = cdist().values[few].square().round().int()
        assert torch.equal(squares, search()[0][few])
        table.add(f"torch.cdist + topk on its alleles, {name}, Q = {num_queries}", cdist, traffic)
        del rows


def bench_faiss_bits(
    table: Table, alleles: Any, num_queries: int, distances: Any, traffic: int, name: str
) -> None:
    """FAISS on bits takes and gives arrays of the host; its panel lies on the device."""
    faiss = faiss_for_gpus()
    if faiss is None:
        return
    codes = np.packbits(alleles, axis=1, bitorder="little")
    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexBinaryFlat(resources, 8 * codes.shape[1])
    index.add(codes)

    def search() -> Any:
        return index.search(codes[:num_queries], K)

    assert np.array_equal(search()[0], distances.cpu().numpy())
    what = f"FAISS GpuIndexBinaryFlat, host arrays, {name}, Q = {num_queries}"
    table.add(what, search, traffic, captured=False)  # its checks abort the process in a capture


def bench_dense(table: Table, torch: Any, num_rows: int, num_dimensions: int) -> None:
    from snvrag.kernels import _device

    num_queries = 48
    torch.manual_seed(3)
    cache = torch.randn(num_rows, num_dimensions, device="cuda")
    queries = torch.randn(num_queries, num_dimensions, device="cuda")

    def search() -> Any:
        return _device.topk_l2(queries, cache, K, check_nan=False)

    def cdist() -> Any:
        return torch.topk(torch.cdist(queries, cache), K, largest=False)

    distances, indices = search()
    exact = torch.stack([((q - cache.double()) ** 2).sum(1) for q in queries.double()])
    nearest = torch.topk(exact, K, largest=False).values
    torch.testing.assert_close(distances.double(), nearest, rtol=1e-5, atol=0)
    found = exact.gather(1, indices)
    torch.testing.assert_close(found, nearest, rtol=1e-5, atol=0)
    traffic = 4 * num_dimensions * (num_rows + num_queries) + 12 * num_queries * K
    name = f"H = {num_rows:,}, D = {num_dimensions}, Q = {num_queries}"
    table.add(f"dense top-k, {name}", search, traffic)
    table.add(f"torch.cdist + topk, {name}", cdist, traffic)
    faiss = faiss_for_gpus()
    if faiss is None:
        return
    index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), num_dimensions)
    index.add(cache)

    def flat() -> Any:
        return index.search(queries, K)

    torch.testing.assert_close(flat()[0].double(), nearest, rtol=1e-4, atol=0)
    table.add(f"FAISS GpuIndexFlatL2, {name}", flat, traffic, captured=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--haplotypes", type=int, nargs="+", default=[5_008, 100_000, 1_000_000])
    parser.add_argument("--block-bytes", type=int, default=1 << 26)
    arguments = parser.parse_args()
    import torch

    table = Table(Timer(torch, arguments.repeats))
    bench_masks(table, torch)
    for num_haplotypes in arguments.haplotypes:
        bench_hamming(table, torch, num_haplotypes, arguments.block_bytes)
    for num_dimensions in (64, 384, 1020):
        bench_dense(table, torch, 5_008, num_dimensions)
    bench_dense(table, torch, 100_000, 384)
    table.print()


if __name__ == "__main__":
    main()
