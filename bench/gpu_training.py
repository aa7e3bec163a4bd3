"""Time training at V18's sizes on a GPU, beside a plain transcription of V18's loop.

    python bench/gpu_training.py [--steps 30] [--haplotypes 5008] [--peak-tflops X]

Prints a table: milliseconds a step (median; data and retrieval included, on the device and on the
CPU, with the window's index in the cache), tokens per second (a token is a site of a haplotype),
model FLOP utilisation and the most memory of the device. FLOPs are those that torch counts in a
step of the uncompiled network, the same number for all, as a share of the peak of dense bfloat16.
Each batch is of one window.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from markdown_table import markdown_table
from sizes import Sizes
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training_steps import Steps
from v18_training import Loop, Network

from snvrag.config.options import preset_values
from snvrag.training import networks as networks_module
from snvrag.training.options import Config

# Data sheets, dense bfloat16 with float32 sums; the first name that is part of the device's counts.
PEAK_TFLOPS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "4090": 165}
V18_LOOP = "V18's loop"


class Table:
    """Times of steps, in five runs, as rows; the device's peak is in operations a second."""

    def __init__(self, device: torch.device, num_steps: int, peak_flops: float | None) -> None:
        self.device = device
        self.num_steps = num_steps
        self.peak_flops = peak_flops
        self.rows: list[tuple[str, ...]] = []
        self.seconds: dict[str, float] = {}

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def add(self, name: str, step: Callable[[], Any], num_tokens: int, num_flops: int) -> None:
        """Time a step and keep a row; a number that is 0 is left out of it."""
        for _ in range(3 if self.num_steps > 3 else 1):
            step()
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        steps_a_run = max(1, self.num_steps // 5)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(steps_a_run):  # the host does not wait between steps, as in training
                step()
            self.wait()
            times.append((time.perf_counter() - start) / steps_a_run)
        seconds = self.seconds[name] = statistics.median(times)
        memory = "-"
        if self.device.type == "cuda":
            memory = f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.1f}"
        share = "-"
        if num_flops and self.peak_flops:
            share = f"{num_flops / seconds / self.peak_flops:.1%}"
        rate = f"{num_tokens / seconds:,.0f}" if num_tokens else "-"
        self.rows.append((name, f"{1e3 * seconds:.1f}", rate, share, memory))

    def print(self) -> None:
        """Print the rows, and how many times faster ours is than V18's loop."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        peak = "unknown" if self.peak_flops is None else f"{self.peak_flops / 1e12:.0f} TFLOP/s"
        print(f"\n{name}, torch {torch.__version__}, peak {peak}\n")
        titles = ("", "step, ms", "tokens/s", "of peak", "memory, GiB")
        print(markdown_table(titles, self.rows))
        ratio = self.seconds[V18_LOOP] / self.seconds["snvrag"]
        print(f"\nsnvrag against V18's loop: {ratio:.1f}x")


def count_flops(step: Callable[[], Any]) -> int:
    """Return the operations of a step's matrix products, convolutions and attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def time_loops(table: Table, sizes: Sizes, settings: dict[str, Any], *, compiled: bool) -> None:
    """Time our loop, with and without ``--compile``, and V18's."""
    steps = Steps(sizes, settings, str(table.device))
    batch = steps.example[0].to(table.device)
    work = 2 * batch.num_samples * sizes.num_sites, count_flops(steps.step)
    table.add("snvrag", steps.step, *work)
    holds_panel = networks_module.holds_panel
    networks_module.holds_panel = lambda _: False
    on_host = Steps(sizes, settings, str(table.device))
    networks_module.holds_panel = holds_panel
    table.add("snvrag, retrieval on the CPU", on_host.step, *work)
    table.add("its batch with neighbours", on_host.data, 0, 0)
    table.add("the same on the device", steps.data, 0, 0)
    if compiled:
        faster = Steps(sizes, {**settings, "compile": True}, str(table.device))
        table.add("snvrag, --compile", faster.step, *work)
    trainer = steps.trainer
    window = int(batch.windows[0])
    start, stop = int(trainer.windows.starts[window]), int(trainer.windows.stops[window])
    panel = trainer.data.panel
    alleles = panel.sample_alleles(np.arange(panel.num_samples), start, stop)
    haplotypes = torch.from_numpy(alleles.reshape(panel.num_haplotypes, -1)).byte()
    torch.manual_seed(0)
    loop = Loop(
        Network(trainer.config.network, trainer.config.retrieval.k).to(table.device),
        haplotypes.to(table.device),
        batch,
        trainer.config.training.focal_gamma,
    )
    k = trainer.config.retrieval.k
    table.add(V18_LOOP, lambda: loop.step(batch, k, trainer.runner.autocast()), *work)
    table.add("V18's index of one window", lambda: loop.build(batch), 0, 0)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="steps timed")
    parser.add_argument("--haplotypes", type=int, default=5_008, help="haplotypes of the panel")
    parser.add_argument("--peak-tflops", type=float, help="peak of a device that is not known here")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also time the compiled network",
    )
    arguments = parser.parse_args()
    device = torch.device("cuda")
    name = torch.cuda.get_device_name(device)
    known = next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
    peak = arguments.peak_tflops or known
    table = Table(device, arguments.steps, None if peak is None else 1e12 * peak)
    sizes = Sizes(True, arguments.haplotypes, 1020, 4, 0)
    time_loops(table, sizes, preset_values(Config, "v18"), compiled=arguments.compile)
    table.print()


if __name__ == "__main__":
    main()
