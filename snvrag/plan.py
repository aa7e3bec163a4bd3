"""What a run would do: ``--dry-run``."""

from __future__ import annotations

from .keys import Key
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
    num_batches = len(trainer.train_feed.sampler)
    epochs = config.epochs - trainer.epoch
    left = max(0, config.epochs * trainer.steps_an_epoch - trainer.step)
    return [
        *sources.report,
        trainer.size_line(),
        f"training: {sources.train.haplotypes.num_samples} samples x {len(trainer.windows)} "
        f"windows = {num_batches} batches of at most {config.batch_size} samples = "
        f"{trainer.steps_an_epoch} steps an epoch",
        f"validation: {sources.validation.haplotypes.num_samples} samples, "
        f"{len(trainer.val_feed.sampler)} batches an epoch",
        f"epochs: {epochs} to train, at most {left} steps in all, {config.warmup_steps} of warm-up",
        *_memory_lines(trainer),
        "Dry run: nothing was trained, nothing was written",
    ]


def _memory_lines(trainer: Trainer) -> list[str]:
    config, panel = trainer.config, trainer.sources.panel
    num_parameters = sum(p.numel() for p in trainer.network.parameters())
    trained_bytes = sum(
        p.numel() * p.element_size() for p in trainer.network.parameters() if p.requires_grad
    )
    batch = trainer.train_feed.dataset[Key(trainer.epoch, 0, 0)]
    retriever = trainer.train_feed.retriever
    neighbours = retriever.retrieve(batch)
    index_bytes = retriever.num_bytes  # of the one window that this was
    all_bytes = index_bytes * len(trainer.windows)
    budget_bytes = config.cache_mb * 2**20
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
        f"memory, activations of a batch: about {config.batch_size * sample_bytes / _MB:.0f} MB",
    ]
