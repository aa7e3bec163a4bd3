"""Time the CUDA kernels beside torch.cdist + topk and FAISS.

    python bench/gpu_kernels.py [--repeats 30] [--haplotypes 5008 100000 1000000]

Prints a table; answers are checked first. "call" is the time of one call in a loop of calls, Python
included; "device" is that of a replayed CUDA graph of the same work, without Python, where the work
can be captured (masks and dense top-k check values on the host). "traffic" is what the work must at
least read and write, every array once, divided by the device time (the call's where there is none);
"of copy" is its share of the bandwidth of a device-to-device copy. FAISS is left out, with a line,
where its build for GPUs is not installed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from markdown_table import markdown_table
from mosaics import HIDDEN_RATE, Window

from snvrag.kernels import HammingIndex, af_guided_masks, pack_haplotypes, topk_l2

NUM_SITES, K = 1020, 8


class Timer:
    """Medians of CUDA event times, in milliseconds."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats

    def _median(self, work: Callable[[], Any], calls: int) -> float:
        times = []
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
        """Return the time of a call."""
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        return self._median(work, 5)

    def device(self, work: Callable[[], Any]) -> float | None:
        """Return the time of a replayed graph, or None for work that cannot be captured."""
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
        source = torch.zeros(1 << 30, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        milliseconds = timer.call(lambda: target.copy_(source))
        self.timer = timer
        self.copy_bytes_per_second = 2 * source.numel() / milliseconds * 1e3
        self.rows: list[tuple[str, ...]] = []

    def add(
        self, name: str, work: Callable[[], Any], num_bytes: int, *, captured: bool = True
    ) -> None:
        """Time some work and keep a row; ``captured=False`` for work that no graph can hold."""
        call = self.timer.call(work)
        device = self.timer.device(work) if captured else None
        rate = num_bytes / (call if device is None else device) * 1e3
        times = f"{call:.3f}", "-" if device is None else f"{device:.3f}"
        share = rate / self.copy_bytes_per_second
        self.rows.append((name, *times, f"{rate / 1e9:.1f}", f"{share:.1%}"))

    def print(self) -> None:
        """Print the rows."""
        print(
            f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, copy at "
            f"{self.copy_bytes_per_second / 1e9:.0f} GB/s, {NUM_SITES} sites, "
            f"{HIDDEN_RATE:.0%} hidden, k = {K}\n"
        )
        titles = ("", "call, ms", "device, ms", "traffic, GB/s", "of copy")
        print(markdown_table(titles, self.rows))
        if faiss_for_gpus() is None:
            print("\nLeft out: FAISS: its build for GPUs is not installed")


def expected(queries: Any, panel: Any, observed: Any, weights: Any = None) -> Any:
    """Return the nearest haplotypes of some queries, from unpacked alleles.

    All haplotypes of a query are sorted by (distance, index). With weights, these are rounded to
    multiples of a power of two, as `HammingIndex.search` does.
    """
    keys = []
    rows = panel[:, observed].double()
    index = torch.arange(rows.shape[0], device=rows.device)
    unit, counts = 1.0, torch.ones(rows.shape[1], dtype=torch.float64, device=rows.device)
    if weights is not None:  # as integers, whose sums are exact in float64
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


def time_masks(table: Table) -> None:
    """Time the masks of a chromosome."""
    rng = np.random.default_rng(1)
    num_windows = 331
    af = rng.random(num_windows * NUM_SITES) ** 3
    starts = np.arange(num_windows) * NUM_SITES
    on_device = torch.tensor(af, device="cuda")

    def mask(af: Any = on_device) -> Any:
        return af_guided_masks(af, starts, starts + NUM_SITES, seed=3, rate=0.5)

    assert np.array_equal(mask().cpu().numpy(), mask(af))
    table.add(f"masks of {num_windows} windows", mask, 9 * af.size, captured=False)


def time_hamming(table: Table, num_haplotypes: int) -> None:
    """Time building and searching an index."""
    window = Window.make(num_haplotypes, NUM_SITES)
    alleles, observed = window.haplotypes, window.observed
    panel, site_bits = (
        torch.tensor(bits.view(np.int64), device="cuda")
        for bits in (window.bits, pack_haplotypes(alleles.T))
    )
    mask = torch.tensor(observed, device="cuda")

    def build() -> HammingIndex:
        return HammingIndex(panel, num_sites=NUM_SITES, observed=mask)

    def build_from_sites() -> HammingIndex:
        return HammingIndex.from_sites(site_bits, num_haplotypes=num_haplotypes, observed=mask)

    index = build()
    answers = (made.search(panel[:16], K) for made in (index, build_from_sites()))
    assert all(torch.equal(x, y) for x, y in zip(*answers, strict=True))
    num_observed = int(observed.sum())
    num_words = -(-num_observed // 64)
    name = f"H = {num_haplotypes:,}"
    table.add(f"index build, {name}", build, 8 * num_haplotypes * (panel.shape[1] + num_words))
    traffic = 8 * (num_observed * site_bits.shape[1] + num_haplotypes * num_words)
    table.add(f"index build from sites, {name}", build_from_sites, traffic)
    dense = torch.tensor(alleles, device="cuda")
    weights = torch.rand(NUM_SITES, device="cuda")
    for num_queries in (48, 1024):
        queries = panel[:num_queries].clone()
        traffic = 8 * num_words * (num_haplotypes + num_queries) + 12 * num_queries * K
        case = f"{name}, Q = {num_queries}"
        for kind, given, more in (("Hamming", None, 0), ("weighted", weights, 4 * NUM_SITES)):

            def search(queries: Any = queries, given: Any = given) -> Any:
                return index.search(queries, K, weights=given)

            answer = expected(dense[:16], dense, mask, given)
            for found, want in zip(search(), answer, strict=True):
                assert torch.equal(found[:16], want)
            table.add(f"{kind} top-k, {case}", search, traffic + more)
        distances = index.search(queries, K)[0]
        time_faiss_bits(table, alleles[:, observed], distances, traffic, case)
        if num_queries * num_haplotypes <= 2 * 10**8:  # beyond, cdist's matrix is too large
            rows = dense[:, mask].float()

            def cdist(queries: Any = rows[:num_queries], rows: Any = rows) -> Any:
                return torch.topk(torch.cdist(queries, rows), K, largest=False)

            squares = cdist().values[:16].square().round().int()
            assert torch.equal(squares, distances[:16])
            table.add(f"torch.cdist + topk of alleles, {case}", cdist, traffic)
            del rows, cdist


def time_faiss_bits(table: Table, alleles: Any, distances: Any, traffic: int, case: str) -> None:
    """Time FAISS on the same bits: queries and answers are on the host, its panel on the device."""
    faiss = faiss_for_gpus()
    if faiss is None:
        return
    codes = np.packbits(alleles, axis=1, bitorder="little")
    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexBinaryFlat(resources, 8 * codes.shape[1])
    index.add(codes)

    def search() -> Any:
        return index.search(codes[: len(distances)], K)

    assert np.array_equal(search()[0], distances.cpu().numpy())
    name = f"FAISS GpuIndexBinaryFlat, host arrays, {case}"
    table.add(name, search, traffic, captured=False)  # its checks abort the process in a capture


def time_dense(table: Table, num_rows: int, num_dimensions: int) -> None:
    """Time top-k by squared L2 distance."""
    num_queries = 48
    torch.manual_seed(3)
    rows = torch.randn(num_rows, num_dimensions, device="cuda")
    queries = torch.randn(num_queries, num_dimensions, device="cuda")

    def search() -> Any:
        return topk_l2(queries, rows, K)

    def cdist() -> Any:
        return torch.topk(torch.cdist(queries, rows), K, largest=False)

    distances, indices = search()
    exact = torch.stack([((q - rows.double()) ** 2).sum(1) for q in queries.double()])
    nearest = torch.topk(exact, K, largest=False).values
    torch.testing.assert_close(distances.double(), nearest, rtol=1e-5, atol=0)
    found = exact.gather(1, indices)
    torch.testing.assert_close(found, nearest, rtol=1e-5, atol=0)
    traffic = 4 * num_dimensions * (num_rows + num_queries) + 12 * num_queries * K
    name = f"H = {num_rows:,}, D = {num_dimensions}, Q = {num_queries}"
    table.add(f"dense top-k, {name}", search, traffic, captured=False)
    table.add(f"torch.cdist + topk, {name}", cdist, traffic)
    faiss = faiss_for_gpus()
    if faiss is None:
        return
    index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), num_dimensions)
    index.add(rows)

    def flat() -> Any:
        return index.search(queries, K)

    torch.testing.assert_close(flat()[0].double(), nearest, rtol=1e-4, atol=0)
    table.add(f"FAISS GpuIndexFlatL2, {name}", flat, traffic, captured=False)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="times that each work is timed")
    parser.add_argument(
        "--haplotypes",
        type=int,
        nargs="+",
        default=[5_008, 100_000, 1_000_000],
        help="sizes of the panel",
    )
    arguments = parser.parse_args()
    table = Table(Timer(arguments.repeats))
    time_masks(table)
    for num_haplotypes in arguments.haplotypes:
        time_hamming(table, num_haplotypes)
    for num_dimensions in (64, 384, 1020):
        time_dense(table, 5_008, num_dimensions)
    time_dense(table, 100_000, 384)
    table.print()


if __name__ == "__main__":
    main()
