"""The trainer: a run, from the first batch to the table at the end."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from . import report
from .baselines import evaluate_baselines
from .checkpoint import checkpoint_path, mark_best, save_checkpoint
from .config import Config
from .dataset import KeySampler, MaskRule
from .distributed import ALONE, Ranks
from .early_stopping import EarlyStopping
from .errors import InputError
from .feed import Feed
from .kernels import af_guided_masks
from .loss import imputation_loss
from .model import ImputationNetwork, NetworkSize
from .report import log
from .sources import Sources, fingerprint
from .step import add_gradients, learning_rate, optimizer_step
from .sums import EpochSums
from .windows import Windows

VALIDATION_SEED = 2024


class Trainer:
    """A run: everything that its checkpoint holds, and what can be made again from files."""

    def __init__(self, config: Config, sources: Sources, ranks: Ranks = ALONE) -> None:
        self.config = config
        self.ranks = ranks
        self.sources = sources
        self.device = choose_device(config.device, ranks)
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
        pin = self.device.type == "cuda"
        self.train_feed = Feed(
            config, sources, sources.train, windows, rule, pin=pin, ranks=ranks, training=True
        )
        self.val_feed = Feed(
            config,
            sources,
            sources.validation,
            windows,
            fixed,
            pin=pin,
            ranks=ranks,
            training=False,
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
            self.sources.panel, self.val_feed.dataset, self._validation_sampler(), self.ranks
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
            if self.ranks.is_writer:
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
        steps_an_epoch = -(-num_batches // config.accumulation)
        sums = EpochSums(self.device)
        started = time.perf_counter()
        bar = tqdm(
            total=steps_an_epoch,
            unit="step",
            disable=None if self.ranks.is_writer else True,
            leave=False,
        )
        for i, group in enumerate(feed.groups(epoch, config.accumulation)):
            (num_scored,) = self.ranks.sum_integers(sum(batch.num_scored for batch, _ in group))
            torch.manual_seed(self.ranks.step_seed(config.seed, self.step))
            add_gradients(
                self.network,
                group,
                num_scored,
                gamma=config.focal_gamma,
                device=self.device,
                autocast=self.autocast(),
                sums=sums,
            )
            self.ranks.add_up_gradients(self.network)
            optimizer_step(
                self.network,
                self.optimizer,
                rate=learning_rate(config, self.step, steps_an_epoch),
                clip=config.clip,
            )
            self.step += 1
            bar.update()
            if (i + 1) % config.log_every == 0:
                bar.set_postfix(
                    loss=f"{sums.mean_loss:.4f}",
                    recall=f"{sums.metrics.compute()['recall_overall']:.4f}",
                )
        bar.close()
        self.ranks.add_up(*sums.tensors())
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
        return sums.mean_loss

    @torch.no_grad()
    def _validate(self) -> tuple[float, dict[str, float]]:
        feed = self.val_feed
        feed.retriever.begin_epoch(VALIDATION_SEED)
        self.network.eval()
        sums = EpochSums(self.device)
        for batch, neighbours in feed.epoch(VALIDATION_SEED):
            batch = batch.to(self.device)
            with self.autocast():
                prediction = self.network(batch, neighbours.to(self.device))
                loss = imputation_loss(prediction, batch, self.config.focal_gamma)
            sums.add_batch(loss, prediction, batch)
        self.ranks.add_up(*sums.tensors())
        return sums.mean_loss, sums.metrics.compute()

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass: bfloat16 on a GPU, where ``--amp`` allows it."""
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
        with self.ranks.together():
            if self.ranks.is_writer:
                self._write(epoch, is_best)

    def _write(self, epoch: int, is_best: bool) -> None:
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
        if not self.ranks.is_writer:
            return
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


def choose_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """Return the device that ``--device`` names; of several ranks, each has a GPU of its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks.size > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"--device must be cpu, cuda or auto for several ranks, got {name}")
        name = f"cuda:{ranks.local_rank}"
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
