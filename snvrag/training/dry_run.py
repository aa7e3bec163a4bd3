"""The plan of a run: its data, steps and memory."""

from __future__ import annotations

import math
import os

from ..batches.batch import EvidenceBatch
from ..batches.keys import Key
from .loader import Inputs
from .loaders import WindowLoader
from .memory import pass_bytes
from .progress import peak_bytes, resident_bytes
from .trainer import Trainer

_MB = 1e6


def plan_lines(trainer: Trainer) -> list[str]:
    """Return the plan of a run, restored from a checkpoint if one is to be resumed."""
    config, data = trainer.config, trainer.data
    steps_left = max(0, config.training.epochs * trainer.steps_per_epoch - trainer.step)
    return [
        *data.report,
        size_line(trainer),
        f"training: {data.train.haplotypes.num_samples} samples x {len(trainer.windows)} "
        f"windows = {len(trainer.train_loader.sampler)} batches of at most "
        f"{config.training.batch_size} samples = "
        f"{trainer.steps_per_epoch} steps an epoch",
        f"validation: {data.validation.haplotypes.num_samples} samples, "
        f"{len(trainer.val_loader.sampler)} batches an epoch",
        f"epochs: {config.training.epochs - trainer.epoch} to train, at most {steps_left} steps in "
        f"all, {config.training.warmup_steps} of warm-up",
        *_memory_lines(trainer),
        "Dry run: nothing was trained, nothing was written",
    ]


def size_line(trainer: Trainer) -> str:
    """Return a line of the size of windows and network."""
    config, size = trainer.config.windows, trainer.ranks.size
    flanks = f", flanks of {config.flank}" if config.flank else ""
    num_parameters = sum(p.numel() for p in trainer.network.parameters())
    ranks = f"; batches are split over {size} ranks" if size > 1 else ""
    place, loader = str(trainer.device), trainer.train_loader
    if place != "cpu" and isinstance(loader, WindowLoader) and loader.resident is None:
        place += ", retrieval on the CPU, as this build lacks the CUDA extension"
    return (
        f"windows: {len(trainer.windows)} of at most {config.window_size} sites{flanks}; "
        f"network: {num_parameters} parameters on {place}{ranks}"
    )


def _memory_lines(trainer: Trainer) -> list[str]:
    """Return the memory of this process by its parts, and in all."""
    config, device = trainer.config, trainer.device
    parameters = list(trainer.network.parameters())
    trained_bytes = sum(p.nbytes for p in parameters if p.requires_grad)
    inputs = _two_samples(trainer)
    loaded_bytes = resident_bytes()  # with all that the first batch has loaded
    if device.type == "cpu":  # what has a line of its own
        loaded_bytes -= sum(p.nbytes for p in parameters) + _moment_bytes(trainer)
    cache_bytes, of_cache = _cache(trainer, inputs)
    num_samples = -(-trainer.train_loader.sampler.most_samples // trainer.ranks.size)
    # The next batches are made when the pass is over, so one optimizer step's are there in it.
    num_batches = config.training.accumulation + trainer.train_loader.makes_ahead
    sample_bytes = sum(tensors.num_bytes for tensors in inputs) / inputs[0].num_samples
    batches_bytes = num_batches * num_samples * sample_bytes
    li_stephens_bytes, *li_stephens_lines = _li_stephens(trainer, num_samples)
    network_bytes = _pass_bytes(trainer, inputs, num_samples)
    lines = [
        f"memory, Python with its libraries and the panel: {loaded_bytes / _MB:.0f} MB, "
        f"{trainer.data.panel.site_bits.nbytes / _MB:.1f} MB of it alleles of the panel",
        f"memory, JIT cache: {cache_bytes / _MB:.1f} MB{of_cache}",
        f"memory, {sum(p.numel() for p in parameters)} parameters, gradients and optimizer: "
        f"{4 * trained_bytes / _MB:.1f} MB; a checkpoint: {3 * trained_bytes / _MB:.1f} MB",
        *li_stephens_lines,
        f"memory, batches of a step: {batches_bytes / _MB:.1f} MB",
        f"memory, forward and backward pass of a batch: about {network_bytes / _MB:.0f} MB",
    ]
    on_host: float = loaded_bytes + li_stephens_bytes
    on_device = 4 * trained_bytes + network_bytes
    loader = trainer.train_loader
    if isinstance(loader, WindowLoader) and loader.resident is not None:
        on_device += cache_bytes + batches_bytes + loader.resident.site_bits.nbytes
    else:
        on_host += cache_bytes + batches_bytes
    beside = ""
    if device.type == "cpu":
        on_host += on_device
    else:
        beside = f", {on_device / _MB:.0f} MB on {device}"
    in_all = max(on_host, peak_bytes())  # reading the panel may have taken more
    return [*lines, f"memory, in all: about {in_all / _MB:.0f} MB resident{beside}"]


def _cache(trainer: Trainer, inputs: Inputs) -> tuple[int, str]:
    """Return the memory of the caches of training and of validation, and what the line adds."""
    held_bytes, batch = trainer.train_loader.cache_bytes, inputs[0]
    if isinstance(batch, EvidenceBatch):
        return 2 * held_bytes, ""
    window_bytes = held_bytes // batch.windows.size
    all_bytes = 2 * window_bytes * len(trainer.windows)
    budget_bytes = int(trainer.config.retrieval.cache_mb * 2**20)
    over = ": over its budget, so the least recently used leave" if all_bytes > budget_bytes else ""
    line = f" ({window_bytes / _MB:.2f} MB a window{over})"
    return min(all_bytes, max(budget_bytes, window_bytes)), line


def _two_samples(trainer: Trainer) -> Inputs:
    """Return two samples: over all windows for the head, else over two or the only one.

    The first window has one flank only, so it may be padded, as most batches are.
    """
    loader, epoch, num_windows = trainer.train_loader, trainer.epoch, len(trainer.windows)
    last = min(1, trainer.data.train.haplotypes.num_samples - 1)
    if isinstance(loader, WindowLoader):
        return loader.make([Key(epoch, 0, 0), Key(epoch, min(1, num_windows - 1), last)])
    samples = range(last + 1)
    return loader.make([Key(epoch, w, sample) for sample in samples for w in range(num_windows)])


def _moment_bytes(trainer: Trainer) -> int:
    """Return the memory of the optimizer's moments, which it has after a resume."""
    states = trainer.optimizer.state_dict()["state"].values()
    return sum(tensor.nbytes for state in states for tensor in state.values())


def _pass_bytes(trainer: Trainer, inputs: Inputs, num_samples: int) -> float:
    """Return the memory of the larger pass, of training or of validation.

    Without ranks that of training is: they share its batches, and take those of validation whole.
    """
    runner, size = trainer.runner, trainer.val_loader.sampler.most_samples
    training = pass_bytes(runner, inputs, num_samples)
    if trainer.ranks.size == 1:
        return training
    return max(training, pass_bytes(runner, inputs, size, training=False))


def _li_stephens(trainer: Trainer, num_samples: int) -> tuple[int, str]:
    """Return the memory that the Li-Stephens model works in, and a line of it.

    At most: every site observed, a query for every thread. It runs in training for a head, and for
    the baselines beside a transformer.
    """
    config, panel = trainer.config, trainer.data.panel
    threads = config.run.workers or min(config.run.threads or os.cpu_count() or 1, 2 * num_samples)
    rounded = 64 * -(-panel.num_haplotypes // 64)
    working_bytes = threads * 8 * math.ceil(math.sqrt(panel.num_sites)) * rounded
    line = f"memory, Li-Stephens model: at most {working_bytes / _MB:.1f} MB (threads: {threads})"
    if config.run.workers:  # which work in processes of their own
        return 0, f"{line}, in the worker processes"
    return working_bytes, line
