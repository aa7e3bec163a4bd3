"""Train at V18's sizes on a GPU, beside a plain transcription of V18's loop; print a table.

    python bench/bench_gpu_training.py [--steps 30] [--haplotypes 5008] [--peak-tflops X]

Of each way: milliseconds a step (median, data and retrieval included, the index of the window
there), tokens per second (a token is a site of a haplotype), model FLOP utilisation
(`snvrag.flops`, the same number of operations for all, so that only time decides; of the peak of
dense bfloat16) and the most memory of the device. Batches are of one window, as V18's are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_train_step import Steps
from conftest import Sizes
from v18_training import Loop, Network

from snvrag.config import PRESETS
from snvrag.flops import TRAINING, forward_flops
from snvrag.setup import network_size

# Dense bfloat16 with float32 sums, of the data sheets; the first name that fits.
PEAK_TFLOPS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "4090": 165}


class Table:
    """Rows of a markdown table."""

    def __init__(self, device: torch.device, num_steps: int, peak_flops: float | None) -> None:
        self.device = device
        self.num_steps = num_steps
        self.peak_flops = peak_flops
        self.rows: list[str] = []
        self.seconds: dict[str, float] = {}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def add(self, what: str, step: Callable[[], Any], num_tokens: int, num_flops: int) -> None:
        """Time steps, each to its end, and keep a row."""
        for _ in range(3 if self.num_steps > 3 else 1):
            step()
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(max(1, self.num_steps // 5)):  # as in a run: the host goes ahead
                step()
            self.wait()
            times.append((time.perf_counter() - start) / max(1, self.num_steps // 5))
        seconds = self.seconds[what] = statistics.median(times)
        rate = share = "-"
        if num_tokens:
            rate = f"{num_tokens / seconds:,.0f}"
        if num_flops and self.peak_flops:
            share = f"{num_flops / seconds / self.peak_flops:.1%}"
        memory = "-"
        if self.device.type == "cuda":
            memory = f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.1f}"
        self.rows.append(f"| {what} | {1e3 * seconds:.1f} | {rate} | {share} | {memory} |")

    def print(self) -> None:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        peak = "unknown" if self.peak_flops is None else f"{self.peak_flops / 1e12:.0f} TFLOP/s"
        print(f"\n{name}, torch {torch.__version__}, peak {peak}\n")
        print("| | step, ms | tokens/s | of peak | memory, GiB |")
        print("| --- | ---: | ---: | ---: | ---: |")
        print("\n".join(self.rows))


def bench(table: Table, sizes: Sizes, settings: dict[str, Any], *, compiled: bool) -> None:
    """Time ours, ours compiled and V18's loop, in turn."""
    made = []
    for kind in ("ours", "ours, --compile") if compiled else ("ours",):
        steps = Steps(sizes, {**settings, "compile": kind != "ours"}, str(table.device))
        batch = steps.example[0]
        num_tokens = 2 * batch.num_samples * sizes.num_sites
        size = network_size(steps.trainer.config)
        num_flops = TRAINING * forward_flops(size, batch.num_samples, sizes.num_sites)
        table.add(kind, steps.step, num_tokens, num_flops)
        made.append(steps)
    steps = made[0]
    batch = batch.to(table.device)
    window = int(batch.windows[0])
    windows = steps.trainer.windows
    start, stop = int(windows.starts[window]), int(windows.stops[window])
    panel = steps.trainer.sources.panel
    every_sample = torch.arange(panel.num_samples).numpy()
    alleles = panel.sample_alleles(every_sample, start, stop).reshape(panel.num_haplotypes, -1)
    haplotypes = torch.from_numpy(alleles).to(table.device).byte()
    torch.manual_seed(0)
    gamma, k = steps.trainer.config.focal_gamma, steps.trainer.config.k
    loop = Loop(Network(size).to(table.device), haplotypes, batch, gamma)
    whole = "V18's loop, index of one window there"
    table.add(whole, lambda: loop.step(batch, k, steps.trainer.autocast()), num_tokens, num_flops)
    table.add("V18's index of one window", lambda: loop.build(batch), 0, 0)
    ratio = table.seconds[whole] / table.seconds["ours"]
    table.rows.append(f"\nours against V18's loop: {ratio:.1f}x")


def test_tiny() -> None:
    """So that it does not rot where there is no GPU."""
    table = Table(torch.device("cpu"), 1, 1e12)
    tiny = {**PRESETS["v18"], "width": 24, "layers": 2, "heads": 2, "batch_size": 3}
    bench(table, Sizes(False, 60, 65, 2, 0), tiny, compiled=False)
    assert len(table.rows) == 4
    assert all(seconds > 0 for seconds in table.seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--haplotypes", type=int, default=5_008)
    parser.add_argument("--peak-tflops", type=float, help="of a device that is not in the table")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    device = torch.device("cuda")
    name = torch.cuda.get_device_name(device)
    known = next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
    peak = arguments.peak_tflops or known
    table = Table(device, arguments.steps, None if peak is None else 1e12 * peak)
    sizes = Sizes(True, arguments.haplotypes, 1020, 4, 0)
    bench(table, sizes, PRESETS["v18"], compiled=arguments.compile)
    table.print()


if __name__ == "__main__":
    main()
