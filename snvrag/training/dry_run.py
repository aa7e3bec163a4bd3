"""The plan of a run: its data, steps and memory."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ..batches.batch import Batch, Neighbours
from ..batches.keys import Key
from .step import BatchRunner
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
    return (
        f"windows: {len(trainer.windows)} of at most {config.window_size} sites{flanks}; "
        f"network: {num_parameters} parameters on {trainer.device}{ranks}"
    )


def _memory_lines(trainer: Trainer) -> list[str]:
    config, panel = trainer.config, trainer.data.panel
    parameters = list(trainer.network.parameters())
    trained_bytes = sum(p.nbytes for p in parameters if p.requires_grad)
    num_samples = -(-config.training.batch_size // trainer.ranks.size)
    batch = trainer.train_loader.dataset[Key(trainer.epoch, 0, 0)]
    retriever = trainer.train_loader.retriever
    neighbours = retriever.retrieve(batch)
    index_bytes = retriever.num_bytes  # of the one window of this batch
    all_bytes = index_bytes * len(trainer.windows)
    budget_bytes = config.retrieval.cache_mb * 2**20
    trainer.network.train()
    sample_bytes = activation_bytes(trainer.runner, batch, neighbours)
    over = ": over its budget, so the least recently used leave" if all_bytes > budget_bytes else ""
    return [
        f"memory, panel: {panel.site_bits.nbytes / _MB:.1f} MB of alleles",
        f"memory, JIT cache: {min(all_bytes, max(budget_bytes, index_bytes)) / _MB:.1f} MB"
        f" ({index_bytes / _MB:.2f} MB a window{over})",
        f"memory, {sum(p.numel() for p in parameters)} parameters, gradients and optimizer: "
        f"{4 * trained_bytes / _MB:.1f} MB; a checkpoint: {3 * trained_bytes / _MB:.1f} MB",
        *_li_stephens_lines(trainer, num_samples),
        f"memory, activations of a batch: about {num_samples * sample_bytes / _MB:.0f} MB",
    ]


def activation_bytes(runner: BatchRunner, batch: Batch, neighbours: Neighbours) -> int:
    """Run a batch; return the bytes that are kept for the backward pass, without the parameters."""
    owned = {parameter.untyped_storage().data_ptr() for parameter in runner.network.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # The graph lives until the list is deleted, so no address is counted twice.
        graph = list(runner.forward(batch, neighbours))
    del graph
    return sum(kept.values())


def _li_stephens_lines(trainer: Trainer, num_samples: int) -> list[str]:
    """Return the memory of the Li-Stephens models for a batch; nothing without them."""
    config, windows = trainer.config, trainer.windows
    model = trainer.train_loader.dataset.li_stephens
    if model is None:
        return []
    middle = len(windows) // 2  # the outer windows have one flank only
    start, stop = model.with_flank(
        int(windows.flanked_starts[middle]), int(windows.flanked_stops[middle])
    )
    # At most: every site observed, a query for every thread, all samples in one window.
    threads = config.run.workers or min(config.run.threads or os.cpu_count() or 1, 2 * num_samples)
    working_bytes = threads * model.thread_bytes(stop - start)
    # The answer of each model, all of them side by side, and their part of the batch.
    num_answers = 2 * num_samples * model.num_models
    answer_bytes = 4 * num_answers * (2 * (stop - start) + windows.length)
    return [
        f"memory, Li-Stephens models: at most {(working_bytes + answer_bytes) / _MB:.1f} MB "
        f"(over {stop - start} sites, threads: {threads})"
    ]
