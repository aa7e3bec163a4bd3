"""What a run would do: ``--dry-run``."""

from __future__ import annotations

import os

from ..batches.keys import Key
from .memory import activation_bytes
from .trainer import Trainer

_MB = 1e6


def plan_lines(trainer: Trainer) -> list[str]:
    """Return the plan of a run, line by line: its data, its steps and about how much memory.

    Parameters
    ----------
    trainer : Trainer
        Restored from a checkpoint, if one is to be continued.
    """
    config, sources = trainer.config, trainer.sources
    num_batches = len(trainer.train_loader.sampler)
    epochs = config.training.epochs - trainer.epoch
    left = max(0, config.training.epochs * trainer.steps_an_epoch - trainer.step)
    return [
        *sources.report,
        trainer.size_line(),
        f"training: {sources.train.haplotypes.num_samples} samples x {len(trainer.windows)} "
        f"windows = {num_batches} batches of at most {config.training.batch_size} samples = "
        f"{trainer.steps_an_epoch} steps an epoch",
        f"validation: {sources.validation.haplotypes.num_samples} samples, "
        f"{len(trainer.val_loader.sampler)} batches an epoch",
        f"epochs: {epochs} to train, at most {left} steps in all, {config.training.warmup_steps} of warm-up",
        *_memory_lines(trainer),
        "Dry run: nothing was trained, nothing was written",
    ]


def _memory_lines(trainer: Trainer) -> list[str]:
    config, panel = trainer.config, trainer.sources.panel
    num_parameters = sum(p.numel() for p in trainer.network.parameters())
    trained_bytes = sum(
        p.numel() * p.element_size() for p in trainer.network.parameters() if p.requires_grad
    )
    num_samples = -(-config.training.batch_size // trainer.ranks.size)
    batch = trainer.train_loader.dataset[Key(trainer.epoch, 0, 0)]
    retriever = trainer.train_loader.retriever
    neighbours = retriever.retrieve(batch)
    index_bytes = retriever.num_bytes  # of the one window that this was
    all_bytes = index_bytes * len(trainer.windows)
    budget_bytes = config.retrieval.cache_mb * 2**20
    trainer.network.train()
    with trainer.autocast():
        sample_bytes = activation_bytes(
            trainer.network, batch.to(trainer.device), neighbours.to(trainer.device)
        )
    over = ": over --cache-mb, the least recently used leave" if all_bytes > budget_bytes else ""
    return [
        f"memory, panel: {panel.site_bits.nbytes / _MB:.1f} MB of alleles",
        f"memory, JIT cache: {min(all_bytes, max(budget_bytes, index_bytes)) / _MB:.1f} MB"
        f" ({index_bytes / _MB:.2f} MB a window{over})",
        f"memory, {num_parameters} parameters, gradients and optimizer: "
        f"{4 * trained_bytes / _MB:.1f} MB; a checkpoint: {3 * trained_bytes / _MB:.1f} MB",
        *_copying_lines(trainer, num_samples),
        f"memory, activations of a batch: about {num_samples * sample_bytes / _MB:.0f} MB",
    ]


def _copying_lines(trainer: Trainer, num_samples: int) -> list[str]:
    """Tell what the Li-Stephens models take for a batch; nothing where there are none."""
    config, windows = trainer.config, trainer.windows
    model = trainer.train_loader.dataset.li_stephens
    if model is None:
        return []
    middle = len(windows) // 2  # as those at the ends have one flank only
    first, last = model.with_flank(
        int(windows.flanked_starts[middle]), int(windows.flanked_stops[middle])
    )
    # At the most: every site observed, a query for every thread, all samples in one window.
    threads = config.run.workers or min(config.run.threads or os.cpu_count() or 1, 2 * num_samples)
    working_bytes = threads * model.thread_bytes(last - first)
    # What each model answers, all of it side by side, and what of it goes into the batch.
    num_answers = 2 * num_samples * model.num_models
    answer_bytes = 4 * num_answers * (2 * (last - first) + windows.length)
    return [
        f"memory, Li-Stephens models: at most {(working_bytes + answer_bytes) / _MB:.1f} MB "
        f"(over {last - first} sites, threads: {threads})"
    ]
