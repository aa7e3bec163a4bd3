"""The trainer: a run, from the first batch to the table at the end."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..batches.dataset import WindowDataset
from ..batches.keys import KeySampler
from ..config.options import to_tables
from ..errors import InputError
from ..io.checkpoint import checkpoint_path, save_checkpoint, step_path
from ..kernels import af_guided_masks
from ..li_stephens.model import LiStephensModel
from ..log import log, log_bytes
from ..network.device import choose_device, require_compiler
from ..network.loss import imputation_loss
from ..network.transformer import ImputationNetwork
from ..panel.windows import Windows
from . import tables as report
from .baselines import evaluate_baselines
from .clock import EpochClock
from .distributed import ALONE, Ranks
from .early_stopping import EarlyStopping
from .loader import Group, Loader
from .memory import MicroBatches, peak_line
from .nonfinite import NonFiniteGuard, StepState
from .options import Config
from .random_state import random_state, set_random_state
from .run_data import RunData, fingerprint
from .run_folder import mark_best, remove_old
from .signals import Requests, TrainingInterrupted, listening
from .step import add_gradients, learning_rate, optimizer_step, pieces
from .sums import EpochSums
from .tensorboard import Scalars

VALIDATION_SEED = 2024


class Trainer:
    """A run: everything that its checkpoint holds, and what can be made again from files.

    Attributes
    ----------
    epoch : int
        Index of the epoch that is being trained, or comes next.
    position : int
        Batches of it that are done, a whole number of optimizer steps.
    step : int
        Optimizer steps done, over all epochs.
    sums : EpochSums
        Of this rank's part of the batches that are done in this epoch.
    pieces : MicroBatches
        That a batch is computed in, for want of memory.
    clock : EpochClock
        Of this epoch.
    scalars : Scalars
        To be opened by whoever wants them.
    history, timing : list of dict
        A row for each whole epoch: what it gave, and what it took. Only the first is the same on
        every machine and in a run that was interrupted.
    """

    def __init__(self, config: Config, sources: RunData, ranks: Ranks = ALONE) -> None:
        self.config = config
        self.ranks = ranks
        self.sources = sources
        self.folder = Path(config.run.output)
        self.device = choose_device(config.run.device, ranks.local_rank if ranks.size > 1 else None)
        windows = Windows.split(
            sources.panel.num_sites, config.windows.window_size, config.windows.flank
        )
        config.masks.check_windows(len(windows))
        self.windows = windows
        rule, fixed = config.masks, config.masks.validation()
        on_gpu = self.device.type == "cuda"
        li_stephens = None
        if config.li_stephens.li_stephens:
            li_stephens = LiStephensModel(
                sources.panel,
                config.li_stephens,
                genetic_map=sources.genetic_map,
                threads=1 if config.run.workers else config.run.threads,
            )
        self.train_loader = Loader(
            config, sources, sources.train, windows, rule, li_stephens, pin=on_gpu, ranks=ranks,
            training=True,
        )  # fmt: skip
        self.val_loader = Loader(
            config, sources, sources.validation, windows, fixed, li_stephens, pin=on_gpu, ranks=ranks,
            training=False,
        )  # fmt: skip
        # Loads the kernels, which the first call after installation compiles: no part of a switch.
        af_guided_masks(
            sources.panel.af, windows.starts, windows.stops, seed=0, rate=0.0,
            generator=rule.mask_generator,
        )  # fmt: skip
        torch.manual_seed(config.training.seed)
        self.network = ImputationNetwork(
            config.network,
            num_neighbours=config.retrieval.k,
            num_models=config.li_stephens.num_models,
        ).to(self.device)
        self.network.least_frequency.fill_(1 / sources.panel.num_haplotypes)
        if config.run.compile:
            require_compiler(self.device)
            if not config.run.dry_run:  # which runs one sample, not a batch that is filled up
                self.network.compile_blocks()
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.training.learning_rate, fused=on_gpu
        )
        # Whether the host looks at losses only every --log-every steps: reading waits for a GPU.
        self.reads_late = on_gpu
        self.stopping = EarlyStopping(config.training.patience, config.training.min_gain)
        self.epoch = self.position = self.step = 0
        self.steps_an_epoch = -(-len(self.train_loader.sampler) // config.training.accumulation)
        self.pieces = MicroBatches(self.device)
        self.sums = EpochSums(self.device)
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self.clock = EpochClock()
        self.scalars = Scalars()
        self.requests = Requests()
        self._watch = NonFiniteGuard(self.device)
        self._saved_at = time.monotonic()

    # --- the loop ---------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end.

        Raises
        ------
        TrainingInterrupted
            When a signal asked for it, after a checkpoint was saved.
        InputError
            If a loss is not finite, or a file cannot be written.
        """
        with listening(self.requests):
            baselines = self._evaluate_baselines()
            while not self.is_done:
                self._train_epoch()
                self._end_epoch(*self._validate())
                (stop,) = self.ranks.largest(self.requests.stop)
                if stop and not self.is_done:
                    raise TrainingInterrupted(stop)
        if self.stopping.should_stop:
            log.info(
                "Early stopping: F1 gained no more than %s in %d epochs (best: epoch %d, %.4f)",
                self.config.training.min_gain, self.stopping.bad_epochs,
                self.stopping.best_epoch + 1, self.stopping.best_f1,
            )  # fmt: skip
        plot = self.folder / "metrics.png" if self.config.run.plot else None
        if self.ranks.is_writer:
            report.log_summary(self.history, baselines, plot)

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left to train."""
        return self.epoch >= self.config.training.epochs or self.stopping.should_stop

    def _train_epoch(self) -> None:
        config, loader = self.config, self.train_loader
        switch_seconds = self._switch_epoch()
        self.network.train()
        self.clock.tick(training=False)
        done = -(-self.position // config.training.accumulation)
        shown = None if self.ranks.is_writer else True  # None: on a terminal
        with tqdm(
            total=self.steps_an_epoch, initial=done, unit="step", disable=shown, leave=False
        ) as bar:
            for group in loader.groups(self.epoch, config.training.accumulation, self.position):
                self.take_step(group)
                bar.update()
                if self.step % config.run.log_every == 0:
                    self._show(bar)
                self._answer_requests()
        self._check_finite()
        self._tick()
        statistics = loader.retriever.statistics
        switch_seconds += statistics.first_build_seconds + statistics.first_search_seconds
        log.info(
            "JIT cache: %d builds in %.1f ms, %d hits, %.1f MB, %d stale dropped, "
            "searches %.1f ms, epoch switch %.2f ms",
            statistics.num_builds, 1e3 * statistics.build_seconds, statistics.num_hits,
            loader.retriever.num_bytes / 2**20, statistics.num_dropped,
            1e3 * statistics.search_seconds, 1e3 * switch_seconds,
        )  # fmt: skip

    def _show(self, bar: tqdm[Any]) -> None:
        """Read what the devices have added up, and show it: the one place that waits for them."""
        self._check_finite()
        sums = self.sums.over(self.ranks)
        loss, recall = sums.mean_loss, sums.metrics.compute()["recall_overall"]
        bar.set_postfix(loss=f"{loss:.4f}", recall=f"{recall:.4f}")
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.scalars.write(self.step, {"loss": loss, "recall": recall, "rate": rate})

    def _switch_epoch(self) -> float:
        """Begin an epoch, or go on with it; return the seconds that the masks took."""
        started = time.perf_counter()
        epoch, rule = self.epoch, self.train_loader.dataset.masks
        self.train_loader.retriever.begin_epoch(epoch)
        masks = af_guided_masks(
            self.sources.panel.af,
            self.windows.starts,
            self.windows.stops,
            seed=epoch,
            rate=rule.rate(epoch),
            rare_rate=rule.rare_rate,
            rare_threshold=rule.rare_threshold,
            generator=rule.mask_generator,
        )
        seconds = time.perf_counter() - started
        if self.position == 0:
            log.info("Epoch %d/%d", epoch + 1, self.config.training.epochs)
            log.info(
                "[AF-Guided Masking] seed %d, rate %.2f, rare sites %.2f: %.1f%% of sites hidden",
                epoch, rule.rate(epoch), rule.rare_rate, 100 * masks.mean(),
            )  # fmt: skip
        return seconds

    def take_step(self, group: Group) -> None:
        """Take one optimizer step along the gradient of a group of batches."""
        config = self.config
        (num_scored,) = self.ranks.sum_integers(sum(batch.num_scored for batch, _ in group))
        torch.manual_seed(self.ranks.step_seed(config.training.seed, self.step))
        before = StepState(self.step, self.position, random_state(self.device))
        sums, losses = self._gradient(group, num_scored, before)
        losses = self.ranks.add_up_gradients(self.network, losses)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.training.clip)
        self._watch.note(before, losses, norm)
        if not self.reads_late:
            self._check_finite()
        optimizer_step(
            self.optimizer,
            learning_rate(config, self.step, self.steps_an_epoch),
            self._watch.bad if self.reads_late else None,
        )
        self.sums.add(sums, self._watch.bad)
        self.step += 1
        self.position += len(group)

    def _gradient(
        self, group: Group, num_scored: int, before: StepState
    ) -> tuple[EpochSums, Tensor]:
        """Add this rank's part of a group's gradient; return its sums and its batches' losses."""

        def compute(parts: int) -> tuple[EpochSums, Tensor]:
            sums = EpochSums(self.device)
            losses = add_gradients(
                self.network,
                group,
                num_scored,
                gamma=self.config.training.focal_gamma,
                device=self.device,
                autocast=self.autocast(),
                sums=sums,
                parts=parts,
            )
            return sums, torch.stack(losses)

        def undo() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            set_random_state(self.device, before.random_state)
            self.network.forget_padding()  # pieces are smaller from here on

        return self.pieces.attempt(compute, undo, max(batch.num_samples for batch, _ in group))

    @torch.no_grad()
    def _validate(self) -> tuple[float, dict[str, float]]:
        loader = self.val_loader
        loader.retriever.begin_epoch(VALIDATION_SEED)
        self.network.eval()
        sums = EpochSums(self.device)
        for pair in loader.epoch(VALIDATION_SEED):
            for batch, neighbours in pieces(*pair, self.pieces.parts):
                batch = batch.to(self.device)
                with self.autocast():
                    prediction = self.network(batch, neighbours.to(self.device))
                    loss = imputation_loss(prediction, batch, self.config.training.focal_gamma)
                sums.add_batch(loss, prediction, batch)
            self._answer_requests()
        sums = sums.over(self.ranks)
        return sums.mean_loss, sums.metrics.compute()

    def _end_epoch(self, val_loss: float, results: dict[str, float]) -> None:
        """Tell what an epoch gave and save it; the next one begins from nothing but that."""
        self._tick()
        epoch, train_loss = self.epoch, self.sums.over(self.ranks).mean_loss
        rate = self.train_loader.dataset.masks.rate(epoch)
        losses = {"train_loss": train_loss, "val_loss": val_loss}
        self.history.append({"epoch": epoch, "mask_rate": rate, **losses, **results})
        clock, self.clock = self.clock, EpochClock()
        timing = {"seconds": clock.seconds, "data_share": clock.data_share}
        self.timing.append({"epoch": epoch, **timing})
        log.info(
            "Time: %.1f s, %.1f%% of the training time spent waiting for data",
            clock.seconds, 100 * clock.data_share,
        )  # fmt: skip
        log.info("%s", peak_line(self.device))
        log.info("Train loss %.4f, validation loss %.4f", train_loss, val_loss)
        log.info(
            "Validation Metrics: (hidden sites of %d samples, seed %d, rate %.2f)",
            self.sources.validation.haplotypes.num_samples, VALIDATION_SEED, self.config.masks.val_rate,
        )  # fmt: skip
        for line in report.metrics_lines(results):
            log.info("%s", line)
        is_best = self.stopping.update(epoch, results["f1_overall"])
        self.epoch, self.position = epoch + 1, 0
        self.sums = EpochSums(self.device)
        self.scalars.write(self.step, {**losses, "mask_rate": rate, **results, **timing})
        path = checkpoint_path(self.folder, epoch)
        self._save(path)
        with self.ranks.together():
            if self.ranks.is_writer:
                if is_best:
                    mark_best(path, self.folder)
                self.tidy_output()
        log.info("Saved %s%s", path, " (best so far)" if is_best else "")

    def size_line(self) -> str:
        """Return a line that tells the windows and the network."""
        flanks = f", flanks of {self.config.windows.flank}" if self.config.windows.flank else ""
        num_parameters = sum(p.numel() for p in self.network.parameters())
        size = self.ranks.size
        spread = f"; batches are cut over {size} ranks" if size > 1 else ""
        return (
            f"windows: {len(self.windows)} of at most {self.config.windows.window_size} sites{flanks}; "
            f"network: {num_parameters} parameters on {self.device}{spread}"
        )

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass: bfloat16 on a GPU, where ``--amp`` allows it."""
        enabled = self.config.run.amp and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _evaluate_baselines(self) -> dict[str, dict[str, float]]:
        sources = self.sources
        # Without Li-Stephens models, which take most of a batch's time and no baseline looks at.
        dataset = WindowDataset(
            sources.panel, sources.validation, self.windows, self.val_loader.dataset.masks
        )
        sampler = KeySampler(
            len(self.windows),
            sources.validation.haplotypes.num_samples,
            max(64, self.config.training.batch_size),
            seed=0,
            shuffle="none",
        )
        sampler.epoch = VALIDATION_SEED
        return evaluate_baselines(sources.panel, dataset, sampler, self.ranks)

    def _tick(self) -> None:
        loader = self.train_loader
        self.clock.tick(training=self.network.training, waited=loader.waited_seconds)
        loader.waited_seconds = 0.0

    # --- between two steps ------------------------------------------------------------------------

    def _answer_requests(self) -> None:
        """Save what a signal or the clock asks for, and end if it is to be the end."""
        minutes = self.config.run.save_every_minutes
        is_due = 0 < 60 * minutes <= time.monotonic() - self._saved_at
        wanted = self.requests.save
        if wanted:  # a signal that comes only now is answered after the next step
            self.requests.save = False
        wanted |= is_due and self.ranks.is_writer
        # So that all save, and end, at one step.
        stop, save = self.ranks.largest(self.requests.stop, wanted)
        if not (stop or save):
            return
        self._tick()
        self._check_finite()
        path = step_path(self.folder)
        self._save(path)
        log.info(
            "Saved %s: epoch %d, after batch %d of %d",
            path, self.epoch + 1, self.position, len(self.train_loader.sampler),
        )  # fmt: skip
        if stop:
            raise TrainingInterrupted(stop)

    def _check_finite(self) -> None:
        """End the run at the first loss that is not finite, with the state of before it saved."""
        bad = self._watch.first_bad()
        if bad is None:
            return
        before, batch = bad
        self.step, self.position = before.step, before.position
        set_random_state(self.device, before.random_state)
        self.optimizer.zero_grad(set_to_none=True)
        path = step_path(self.folder)
        self._save(path)
        sampler = self.train_loader.sampler
        sampler.epoch, sampler.first = self.epoch, before.position + batch
        names = self.sources.train.haplotypes.samples
        keys = ", ".join(f"{key.window} {names[key.sample]}" for key in next(iter(sampler)))
        error = InputError(
            f"the loss or its gradient is not finite at step {before.step}, epoch index "
            f"{self.epoch}, batch {before.position + batch} (window and sample of its keys: "
            f"{keys}): the state of before that step is saved in {path}"
        )
        with self.ranks.together():  # all have it, one says it
            raise error

    # --- checkpoints ------------------------------------------------------------------------------

    def _save(self, path: Path) -> None:
        self.scalars.flush()
        sums = self.sums.over(self.ranks)
        with self.ranks.together():
            if self.ranks.is_writer:
                self._write(path, sums)
        self._saved_at = time.monotonic()

    def _write(self, path: Path, sums: EpochSums) -> None:
        save_checkpoint(
            path,
            {
                "epoch": self.epoch - 1,
                "step": self.step,
                "config": to_tables(self.config),
                "fingerprint": fingerprint(self.sources),
                "model": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": {"step": self.step},
                "scaler": {},  # bfloat16 needs no gradient scaling
                "early_stopping": asdict(self.stopping),
                "random_state": random_state(self.device),
                "epoch_position": self.position,
                "progress": {
                    "sums": sums.state(), "clock": self.clock.state(), "ranks": self.ranks.size,
                },
                "history": self.history,
                "timing": self.timing,
                "log_bytes": log_bytes(),
            },
        )  # fmt: skip

    def restore(self, content: dict[str, Any]) -> None:
        """Take over a checkpoint."""
        self.network.load_state_dict(content["model"])
        optimizer = content["optimizer"]
        for parameters in optimizer["param_groups"]:
            # Of the device, which may be another now.
            parameters["fused"] = self.optimizer.defaults["fused"]
        self.optimizer.load_state_dict(optimizer)
        self.step = int(content["schedule"]["step"])
        self.stopping = EarlyStopping(**content["early_stopping"])
        self.history = [dict(row) for row in content["history"]]
        self.timing = [dict(row) for row in content["timing"]]
        self.epoch = int(content["epoch"]) + 1
        self.position = int(content["epoch_position"])
        progress = content["progress"]
        if self.ranks.is_writer:  # the others' part is in it
            self.sums.restore(progress["sums"])
        self.clock = EpochClock(**progress["clock"])
        set_random_state(self.device, content["random_state"])

    def tidy_output(self) -> None:
        """Bring the output folder into agreement with the checkpoint that was saved or restored."""
        report.write_table(self.folder / "metrics.csv", report.COLUMNS, self.history)
        report.write_table(self.folder / "timing.csv", report.TIMING_COLUMNS, self.timing)
        if self.position == 0:
            remove_old(self.folder, self.epoch - 1, self.config.run.keep)
