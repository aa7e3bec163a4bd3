"""Train an imputation model: ``python -m snvrag.train``."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from . import report
from .baselines import evaluate_baselines
from .checkpoint import (
    check_resumable,
    checkpoint_path,
    load_checkpoint,
    mark_best,
    prepare_output,
    restore_best,
    save_checkpoint,
)
from .config import Config, parse_arguments
from .dataset import Batch, KeySampler, MaskRule, Targets, WindowDataset, as_batch
from .errors import InputError
from .kernels import af_guided_masks
from .loss import imputation_loss
from .metrics import Metrics
from .model import ImputationNetwork, NetworkSize
from .report import log
from .retriever import Neighbours, Retriever
from .sources import Sources, load_sources
from .windows import Windows

VALIDATION_SEED = 2024


@dataclass
class EarlyStopping:
    """Stops when F1 has not gained for some epochs.

    Attributes
    ----------
    patience, min_gain
        Epochs in a row without a gain of more than ``min_gain`` over ``reference_f1``.
    best_f1, best_epoch
        The highest F1, by however little.
    """

    patience: int
    min_gain: float
    best_f1: float = float("-inf")
    best_epoch: int = -1
    reference_f1: float = float("-inf")
    bad_epochs: int = 0

    def update(self, epoch: int, f1: float) -> bool:
        """Take an epoch's F1; return whether it is the best so far."""
        if f1 > self.reference_f1 + self.min_gain:
            self.reference_f1, self.bad_epochs = f1, 0
        else:
            self.bad_epochs += 1
        is_best = self.best_epoch < 0 or f1 > self.best_f1
        if is_best:
            self.best_f1, self.best_epoch = f1, epoch
        return is_best

    @property
    def should_stop(self) -> bool:
        """Whether patience is at its end."""
        return 0 < self.patience <= self.bad_epochs


class Feed:
    """Batches with their neighbours, and how long the network waited for them."""

    def __init__(
        self,
        config: Config,
        sources: Sources,
        targets: Targets,
        windows: Windows,
        rule: MaskRule,
        device: torch.device,
        *,
        training: bool,
    ) -> None:
        self.device = device
        self.dataset = WindowDataset(sources.panel, targets, windows, rule)
        self.sampler = KeySampler(
            len(windows),
            targets.haplotypes.num_samples,
            config.batch_size,
            seed=config.seed,
            shuffle=config.shuffle if training else "none",  # type: ignore[arg-type]
        )
        self.retriever = Retriever(
            sources.panel,
            windows,
            k=config.k,
            segment_size=config.segment_size,
            segment_flank=config.segment_flank,
            cache_bytes=int(config.cache_mb * 2**20),
            decay_sites=config.decay_sites,
            with_features=config.weighting == "local",
            threads=config.threads or None,
        )
        self.loader: DataLoader[Batch] = DataLoader(
            self.dataset,
            batch_sampler=self.sampler,
            collate_fn=as_batch,
            num_workers=config.workers,
            multiprocessing_context=config.start_method if config.workers else None,
            persistent_workers=config.workers > 0,
            # A loader without one of its own would draw from the generator that dropout uses.
            generator=torch.Generator(),
        )
        self.waited_seconds = 0.0

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, Neighbours]]:
        """Yield an epoch's batches on the device."""
        self.sampler.epoch = epoch
        self.waited_seconds = 0.0
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            neighbours = self.retriever.retrieve(batch).to(self.device)
            batch = batch.to(self.device)
            self.waited_seconds += time.perf_counter() - start
            yield batch, neighbours


class Trainer:
    """A run: everything that its checkpoint holds, and what can be made again from files."""

    def __init__(self, config: Config, sources: Sources) -> None:
        self.config = config
        self.sources = sources
        self.device = choose_device(config.device)
        windows = Windows.split(sources.panel.num_sites, config.window_size, config.flank)
        self.windows = windows
        if config.mask_generator == "mt19937" and len(windows) > 10_000:
            raise InputError(
                f"--mask-generator mt19937: at most 10000 windows, the panel has {len(windows)}: "
                "take philox, or a larger --window-size"
            )
        rule = MaskRule(
            config.mask_rates,
            config.epochs_per_rate,
            config.rare_rate,
            config.rare_threshold,
            config.mask_generator,  # type: ignore[arg-type]
        )
        fixed = MaskRule((config.val_rate,), 1, rule.rare_rate, rule.rare_threshold, rule.generator)
        self.train_feed = Feed(
            config, sources, sources.train, windows, rule, self.device, training=True
        )
        self.val_feed = Feed(
            config, sources, sources.validation, windows, fixed, self.device, training=False
        )
        # Loads the kernels, which the first call after installation compiles: no part of a switch.
        af_guided_masks(
            sources.panel.af, windows.starts, windows.stops, seed=0, rate=0.0,
            generator=rule.generator,
        )  # fmt: skip
        torch.manual_seed(config.seed)
        self.network = ImputationNetwork(network_size(config)).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.stopping = EarlyStopping(config.patience, config.min_gain)
        self.step = 0
        self.data_share = 0.0
        self.history: list[dict[str, Any]] = []

    # --- the loop ---------------------------------------------------------------------------------

    def fit(self, first_epoch: int = 0) -> None:
        """Train from an epoch index to the end."""
        config = self.config
        baselines = evaluate_baselines(
            self.sources.panel, self.val_feed.dataset, self._validation_sampler()
        )
        for epoch in range(first_epoch, config.epochs):
            if self.stopping.should_stop:
                break
            started = time.perf_counter()
            log.info("Epoch %d/%d", epoch + 1, config.epochs)
            train_loss = self._train_epoch(epoch)
            val_loss, results = self._validate()
            seconds = time.perf_counter() - started
            rule = self.train_feed.dataset.mask_rule
            row = {
                "epoch": epoch,
                "mask_rate": rule.rate(epoch),
                "train_loss": train_loss,
                "val_loss": val_loss,
                **results,
                "seconds": seconds,
                "data_share": self.data_share,
            }
            self.history.append(row)
            log.info(
                "Train loss %.4f, validation loss %.4f, %.1f s, %.1f%% of the training time spent "
                "waiting for data",
                train_loss, val_loss, seconds, 100 * self.data_share,
            )  # fmt: skip
            log.info(
                "Validation Metrics: (hidden sites of %d samples, seed %d, rate %.2f)",
                self.sources.validation.haplotypes.num_samples, VALIDATION_SEED, config.val_rate,
            )  # fmt: skip
            for line in report.metrics_lines(results):
                log.info("%s", line)
            is_best = self.stopping.update(epoch, results["f1_overall"])
            self._save(epoch, is_best)
            report.write_metrics(Path(config.output) / "metrics.csv", self.history)
        if self.stopping.should_stop:
            log.info(
                "Early stopping: F1 gained no more than %s in %d epochs (best: epoch %d, %.4f)",
                config.min_gain, self.stopping.bad_epochs,
                self.stopping.best_epoch + 1, self.stopping.best_f1,
            )  # fmt: skip
        self._finish(baselines)

    def _train_epoch(self, epoch: int) -> float:
        config = self.config
        feed = self.train_feed
        started = time.perf_counter()
        feed.retriever.begin_epoch(epoch)
        rule = feed.dataset.mask_rule
        masks = af_guided_masks(
            self.sources.panel.af,
            self.windows.starts,
            self.windows.stops,
            seed=epoch,
            rate=rule.rate(epoch),
            rare_rate=rule.rare_rate,
            rare_threshold=rule.rare_threshold,
            generator=rule.generator,
        )
        switch_seconds = time.perf_counter() - started
        log.info(
            "[AF-Guided Masking] seed %d, rate %.2f, rare sites %.2f: %.1f%% of sites hidden",
            epoch, rule.rate(epoch), rule.rare_rate, 100 * masks.mean(),
        )  # fmt: skip

        self.network.train()
        num_batches = len(feed.sampler)
        total = torch.zeros((), device=self.device)
        metrics = Metrics(self.device)
        started = time.perf_counter()
        bar = tqdm(total=num_batches, unit="step", disable=None, leave=False)
        for i, (batch, neighbours) in enumerate(feed.epoch(epoch)):
            is_last = i + 1 == num_batches
            in_group = min(
                config.accumulation, num_batches - i // config.accumulation * config.accumulation
            )
            with self._autocast():
                prediction = self.network(batch, neighbours)
                loss = imputation_loss(prediction, batch, config.focal_gamma)
            torch.autograd.backward(loss / in_group)
            if (i + 1) % config.accumulation == 0 or is_last:
                self._optimizer_step()
            total += loss.detach()
            rows = batch.window_row
            metrics.update(
                prediction.hap_dosage.detach(),
                batch.alleles,
                batch.scored[rows],
                batch.panel_af[rows],
            )
            bar.update()
            if (i + 1) % config.log_every == 0 or is_last:
                bar.set_postfix(
                    loss=f"{float(total) / (i + 1):.4f}",
                    recall=f"{metrics.compute()['recall_overall']:.4f}",
                )
        bar.close()
        self.data_share = feed.waited_seconds / (time.perf_counter() - started)
        statistics = feed.retriever.statistics
        switch_seconds += statistics.first_build_seconds + statistics.first_search_seconds
        log.info(
            "JIT cache: %d builds in %.1f ms, %d hits, %.1f MB, %d stale dropped, "
            "searches %.1f ms, epoch switch %.2f ms",
            statistics.num_builds, 1e3 * statistics.build_seconds, statistics.num_hits,
            feed.retriever.num_bytes / 2**20, statistics.num_dropped,
            1e3 * statistics.search_seconds, 1e3 * switch_seconds,
        )  # fmt: skip
        return float(total) / num_batches

    def _optimizer_step(self) -> None:
        """Clip and step, at a learning rate that is a pure function of the number of steps."""
        config = self.config
        warmup = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        steps_an_epoch = -(-len(self.train_feed.sampler) // config.accumulation)
        progress = min(1.0, self.step / (config.epochs * steps_an_epoch))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        decay = config.final_rate + (1 - config.final_rate) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup * decay
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    @torch.no_grad()
    def _validate(self) -> tuple[float, dict[str, float]]:
        feed = self.val_feed
        feed.retriever.begin_epoch(VALIDATION_SEED)
        self.network.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        num_scored = torch.zeros_like(total)
        metrics = Metrics(self.device)
        for batch, neighbours in feed.epoch(VALIDATION_SEED):
            with self._autocast():
                prediction = self.network(batch, neighbours)
                loss = imputation_loss(prediction, batch, self.config.focal_gamma)
            rows = batch.window_row
            scored = batch.scored[rows]
            metrics.update(prediction.hap_dosage, batch.alleles, scored, batch.panel_af[rows])
            weight = scored.sum()
            total += loss.double() * weight
            num_scored += weight
        return float(total / num_scored.clamp_min(1)), metrics.compute()

    def _autocast(self) -> torch.autocast:
        enabled = self.config.amp and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _validation_sampler(self) -> KeySampler:
        sampler = KeySampler(
            len(self.windows),
            self.sources.validation.haplotypes.num_samples,
            max(64, self.config.batch_size),
            seed=0,
            shuffle="none",
        )
        sampler.epoch = VALIDATION_SEED
        return sampler

    # --- checkpoints and the end ------------------------------------------------------------------

    def _save(self, epoch: int, is_best: bool) -> None:
        path = checkpoint_path(self.config.output, epoch)
        random_state = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(
            path,
            {
                "epoch": epoch,
                "step": self.step,
                "config": self.config.to_dict(),
                "fingerprint": fingerprint(self.sources),
                "model": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": {"step": self.step},
                "scaler": {},  # bfloat16 needs no gradient scaling
                "early_stopping": asdict(self.stopping),
                "random_state": random_state,
                "epoch_position": 0,
                "history": self.history,
            },
        )
        if is_best:
            mark_best(path, path.parent)
        log.info("Saved %s%s", path, " (best so far)" if is_best else "")

    def restore(self, content: dict[str, Any]) -> int:
        """Take over a checkpoint; return the epoch index to continue at."""
        self.network.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = int(content["schedule"]["step"])
        patience = {"patience": self.config.patience, "min_gain": self.config.min_gain}
        self.stopping = EarlyStopping(**{**content["early_stopping"], **patience})
        self.history = [dict(row) for row in content["history"]]
        torch.set_rng_state(content["random_state"]["torch"])
        if self.device.type == "cuda" and "cuda" in content["random_state"]:
            torch.cuda.set_rng_state(content["random_state"]["cuda"], self.device)
        return int(content["epoch"]) + 1

    def _finish(self, baselines: dict[str, dict[str, float]]) -> None:
        log.info("")
        log.info("Validation, hidden sites, by epoch and beside the baselines:")
        for line in report.summary_table(self.history, baselines):
            log.info("%s", line)
        if self.config.plot:
            plot = Path(self.config.output) / "metrics.png"
            if report.plot_metrics(plot, self.history, baselines):
                log.info("Plot: %s", plot)
            else:
                log.info("No plot: matplotlib is not installed (pip install 'snvrag[plot]')")


def network_size(config: Config) -> NetworkSize:
    """Return the network that a configuration asks for."""
    return NetworkSize(
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        dropout=config.dropout,
        span=config.span,
        num_neighbours=config.k,
        weighting=config.weighting,  # type: ignore[arg-type]
        copying=config.copying,
    )


def fingerprint(sources: Sources) -> str:
    """Return what identifies the data of a run: reference, training and validation haplotypes."""
    parts = [sources.panel.fingerprint, sources.validation.haplotypes.fingerprint]
    if sources.train.haplotypes is not sources.panel:
        present = hashlib.sha256(sources.train.present.tobytes()).hexdigest()
        parts += [sources.train.haplotypes.fingerprint, present]
    return "-".join(parts)


def choose_device(name: str) -> torch.device:
    """Return the device that ``--device`` names."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device must be cpu, cuda, cuda:N or auto, got {name}") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device must be cpu, cuda, cuda:N or auto, got {name}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise InputError(f"--device {name}: this machine has {count} CUDA devices")
    return device


def train(config: Config) -> list[dict[str, Any]]:
    """Run a whole training as configured; return the metrics of every epoch."""
    if config.threads:
        torch.set_num_threads(config.threads)
    content = load_checkpoint(config.resume) if config.resume else None
    sources = load_sources(config)
    trainer = Trainer(config, sources)
    first_epoch = 0
    if content is not None:
        check_resumable(config.resume, content, config, fingerprint(sources))
        first_epoch = trainer.restore(content)
    prepare_output(config)
    try:
        report.open_log(Path(config.output) / "train.log")
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (Path(config.output) / "config.json").write_text(text, encoding="utf-8")
        if content is not None:
            restore_best(config.resume, trainer.stopping.best_epoch, config.output)
        for line in sources.report:
            log.info("%s", line)
        windows = trainer.windows
        num_parameters = sum(p.numel() for p in trainer.network.parameters())
        log.info(
            "windows: %d of at most %d sites%s; network: %d parameters on %s",
            len(windows), config.window_size,
            f", flanks of {config.flank}" if config.flank else "", num_parameters, trainer.device,
        )  # fmt: skip
        if content is not None:
            log.info("Resumed from %s: continuing at epoch index %d", config.resume, first_epoch)
            planned = content["config"]["epochs"]
            if planned != config.epochs and config.final_rate < 1:
                log.info(
                    "Note: --epochs was %d, is %d: the learning rate follows the new length",
                    planned, config.epochs,
                )  # fmt: skip
        trainer.fit(first_epoch)
    except OSError as error:
        place = error.filename or config.output
        raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
    finally:
        report.close_log()
    return trainer.history


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        train(parse_arguments(arguments))
    except InputError as error:
        print(f"snvrag.train: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "snvrag.train: interrupted: continue with --resume and the newest checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
