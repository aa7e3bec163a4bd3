"""The plan of a run: its data, steps and memory."""

from __future__ import annotations

import os
from typing import Any

from ..batches.batch import Batch, Neighbours
from ..batches.keys import Key
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
    place = str(trainer.device)
    if place != "cpu" and trainer.train_loader.resident is None:
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
    batch, neighbours = _two_samples(trainer)
    loaded_bytes = resident_bytes()  # with all that the first batch has loaded
    if device.type == "cpu":  # what has a line of its own
        loaded_bytes -= sum(p.nbytes for p in parameters) + _moment_bytes(trainer)
    window_bytes = trainer.train_loader.retriever.num_bytes // batch.windows.size
    all_bytes = 2 * window_bytes * len(trainer.windows)  # of training and of validation
    budget_bytes = int(config.retrieval.cache_mb * 2**20)
    cache_bytes = min(all_bytes, max(budget_bytes, window_bytes))
    over = ": over its budget, so the least recently used leave" if all_bytes > budget_bytes else ""
    num_samples = -(-trainer.train_loader.sampler.most_samples // trainer.ranks.size)
    # The next batches are made when the pass is over, so one optimizer step's are there in it.
    num_batches = config.training.accumulation
    sample_bytes = (batch.num_bytes + neighbours.num_bytes) / batch.num_samples
    batches_bytes = num_batches * num_samples * sample_bytes
    li_stephens_bytes, *li_stephens_lines = _li_stephens(trainer, num_samples)
    network_bytes = _pass_bytes(trainer, batch, neighbours, num_samples)
    lines = [
        f"memory, Python with its libraries and the panel: {loaded_bytes / _MB:.0f} MB, "
        f"{trainer.data.panel.site_bits.nbytes / _MB:.1f} MB of it alleles of the panel",
        f"memory, JIT cache: {cache_bytes / _MB:.1f} MB"
        f" ({window_bytes / _MB:.2f} MB a window{over})",
        f"memory, {sum(p.numel() for p in parameters)} parameters, gradients and optimizer: "
        f"{4 * trained_bytes / _MB:.1f} MB; a checkpoint: {3 * trained_bytes / _MB:.1f} MB",
        *li_stephens_lines,
        f"memory, batches of a step: {batches_bytes / _MB:.1f} MB",
        f"memory, forward and backward pass of a batch: about {network_bytes / _MB:.0f} MB",
    ]
    on_host = loaded_bytes + li_stephens_bytes
    on_device = 4 * trained_bytes + network_bytes
    resident = trainer.train_loader.resident
    if resident is None:
        on_host += cache_bytes + batches_bytes
    else:
        on_device += cache_bytes + batches_bytes + resident.site_bits.nbytes
    beside = ""
    if device.type == "cpu":
        on_host += on_device
    else:
        beside = f", {on_device / _MB:.0f} MB on {device}"
    in_all = max(on_host, peak_bytes())  # reading the panel may have taken more
    return [*lines, f"memory, in all: about {in_all / _MB:.0f} MB resident{beside}"]


def _two_samples(trainer: Trainer) -> tuple[Batch, Neighbours]:
    """Return two samples over two windows, or over one where there is one.

    The first window has one flank only, so it may be padded, as most batches are.
    """
    loader, epoch = trainer.train_loader, trainer.epoch
    other = Key(
        epoch,
        min(1, len(trainer.windows) - 1),
        min(1, trainer.data.train.haplotypes.num_samples - 1),
    )
    batch = loader.make([Key(epoch, 0, 0), other])
    return batch, loader.retriever.retrieve(batch)


def _moment_bytes(trainer: Trainer) -> int:
    """Return the memory of the optimizer's moments, which it has after a resume."""
    states = trainer.optimizer.state_dict()["state"].values()
    return sum(tensor.nbytes for state in states for tensor in state.values())


def _pass_bytes(trainer: Trainer, batch: Batch, neighbours: Neighbours, num_samples: int) -> float:
    """Return the memory of the larger pass, of training or of validation.

    Without ranks that of training is: they share its batches, and take those of validation whole.
    """
    runner, size = trainer.runner, trainer.val_loader.sampler.most_samples
    training = pass_bytes(runner, batch, neighbours, num_samples)
    if trainer.ranks.size == 1:
        return training
    return max(training, pass_bytes(runner, batch, neighbours, size, training=False))


def _li_stephens(trainer: Trainer, num_samples: int) -> tuple[Any, ...]:
    """Return the memory of the Li-Stephens models for a batch, and a line; 0 without them."""
    config, windows = trainer.config, trainer.windows
    model = trainer.train_loader.dataset.li_stephens
    if model is None:
        return (0,)
    middle = len(windows) // 2  # the outer windows have one flank only
    start, stop = model.with_flank(
        int(windows.flanked_starts[middle]), int(windows.flanked_stops[middle])
    )
    # At most: every site observed, a query for every thread, all samples in one window.
    threads = config.run.workers or min(config.run.threads or os.cpu_count() or 1, 2 * num_samples)
    working_bytes = threads * model.thread_bytes(stop - start)
    # The answer of each model, all of them side by side, and their part of the batch.
    num_answers = 2 * num_samples * model.num_models
    total_bytes = working_bytes + 4 * num_answers * (2 * (stop - start) + windows.length)
    line = (
        f"memory, Li-Stephens models: at most {total_bytes / _MB:.1f} MB "
        f"(over {stop - start} sites, threads: {threads})"
    )
    if config.run.workers:  # which work in processes of their own
        return 0, f"{line}, in the worker processes"
    return total_bytes, line
