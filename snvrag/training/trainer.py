"""The training loop: epochs of optimizer steps, validation, checkpoints."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..batches.keys import VALIDATION_SEED
from ..config.options import to_tables
from ..errors import InputError
from ..io.checkpoint import checkpoint_path, save_checkpoint, step_path
from ..log import Progress, log, log_bytes
from ..network.device import choose_device
from ..network.head_network import HeadNetwork
from ..panel.windows import Windows
from . import tables
from .baselines import evaluate_baselines
from .distributed import ALONE, Ranks
from .early_stopping import EarlyStopping
from .loader import Group, Loader, closing_workers
from .networks import learn_head, make_loaders, make_network, share_rates
from .nonfinite import NonFiniteGuard, StepState
from .options import Config
from .progress import EpochClock, EpochSums, peak_line
from .run_data import RunData
from .run_folder import mark_best, remove_old
from .signals import Requests, TrainingInterrupted, listening
from .step import BatchRunner, learning_rate, optimizer_step, random_state, set_random_state
from .tensorboard import Scalars


class Trainer:
    """Trains a network; holds all that a checkpoint saves and all that is made from files.

    Attributes
    ----------
    epoch : int
        Index of the epoch that is being trained, or comes next.
    num_batches_done : int
        Batches of it that are done, a whole number of optimizer steps.
    step : int
        Optimizer steps done, over all epochs.
    sums, clock
        Of the epoch so far; the sums of this rank's share.
    scalars : Scalars
        Curves; not written unless opened.
    baselines : dict
        Metrics of each baseline, the untrained network among them; empty until `fit`.
    history, timing : list of dict
        A row for each finished epoch: its results, and its times. The results are the same on every
        machine and whether or not the run was interrupted.
    reads_late : bool
        Whether losses are read only every ``log_every`` steps: reading waits for a GPU.
    """

    def __init__(self, config: Config, data: RunData, ranks: Ranks = ALONE) -> None:
        self.config, self.data, self.ranks = config, data, ranks
        self.folder = Path(config.run.output)
        self.device = choose_device(config.run.device, ranks.local_rank if ranks.size > 1 else None)
        on_gpu = self.device.type == "cuda"
        self.windows = Windows.split(
            data.panel.num_sites,
            config.windows.window_size,
            config.windows.flank,
            equal=config.windows.equal_windows,
        )
        config.masks.check_windows(len(self.windows))
        self.network = make_network(config, data, self.device)
        self.train_loader, self.val_loader = make_loaders(
            config, data, self.windows, ranks, self.network, self.device
        )
        self.runner = BatchRunner(
            self.network,
            self.device,
            gamma=config.training.focal_gamma,
            # The log-odds of the expert, to which the head adds, need more digits than bfloat16's.
            amp=config.run.amp and config.network.network == "transformer",
        )
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.training.learning_rate, fused=on_gpu
        )
        self.reads_late = on_gpu
        self.guard = NonFiniteGuard(self.device)
        self.stopping = EarlyStopping(config.training.patience, config.training.min_gain)
        self.steps_per_epoch = -(-len(self.train_loader.sampler) // config.training.accumulation)
        self.epoch = self.num_batches_done = self.step = 0
        self.sums = EpochSums(self.device)
        self.clock = EpochClock()
        self.scalars = Scalars()
        self.baselines: tables.Baselines = {}
        self.history: list[dict[str, Any]] = []
        self.timing: list[dict[str, Any]] = []
        self.requests = Requests()
        self._saved_at = time.monotonic()

    # --- the loop ---------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end; raise as `snvrag.training.run.train`, or if a loss is not finite."""
        with listening(self.requests), closing_workers(self.train_loader, self.val_loader):
            if not self.baselines:
                self._start()
            while not self.is_done:
                self._train_epoch()
                self._end_epoch(*self._validate())
                (stop,) = self.ranks.all_reduce_max(self.requests.stop)
                if stop and not self.is_done:
                    raise TrainingInterrupted(stop)
        if self.stopping.should_stop:
            log.info("Early stopping: %s", self.stopping)
        plot = self.folder / "metrics.png" if self.config.run.plot else None
        if self.ranks.is_writer:
            tables.log_summary(self.history, self.baselines, plot)

    def _start(self) -> None:
        """Learn what is learned once a run, and compute the baselines."""
        if isinstance(self.network, HeadNetwork):
            log.info("Learning rates...")
            loaders = self.train_loader, self.val_loader
            learn_head(self.config, self.data, self.network, loaders, self.ranks)
        log.info("Baselines...")
        self.baselines = evaluate_baselines(
            self.config,
            self.data,
            self.windows,
            self.val_loader,
            self.runner,
            self._answer_requests,
        )
        self.clock.skip()

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left to train."""
        return self.epoch >= self.config.training.epochs or self.stopping.should_stop

    def _train_epoch(self) -> None:
        config, loader = self.config, self.train_loader
        begin_seconds = self._begin_epoch()
        self.network.train()
        self.clock.tick(training=False)
        groups = loader.groups(self.epoch, config.training.accumulation, self.num_batches_done)
        log.info("Training...")
        with self._progress(loader, self.num_batches_done) as progress:
            for group in self.clock.waiting(groups):
                self.take_step(group)
                self._advance(progress, len(group), self.sums)
                if self.step % config.run.log_every == 0:
                    self._show(progress)
                self._answer_requests()
        self._check_finite()
        self.clock.tick(training=True)
        counts, mib = loader.statistics, loader.cache_bytes / 2**20
        switch = begin_seconds + counts.first_build_seconds + counts.first_search_seconds
        log.info(
            f"JIT cache: {counts.num_builds} builds in {1e3 * counts.build_seconds:.1f} ms, "
            f"{counts.num_hits} hits, {mib:.1f} MiB, {counts.num_dropped} stale dropped, "
            f"{loader.searches} {1e3 * counts.search_seconds:.1f} ms, "
            f"epoch switch {1e3 * switch:.2f} ms"
        )

    def _begin_epoch(self) -> float:
        """Drop what belongs to other masks; return the seconds it took.

        No mask is made here, so the log has the expected share of hidden sites.
        """
        start = time.perf_counter()
        self.train_loader.begin_epoch(self.epoch)
        seconds = time.perf_counter() - start
        if self.num_batches_done == 0:
            masks, epoch = self.config.masks, self.epoch
            share = 100 * masks.expected_share(self.data.panel.af, epoch)
            log.info("Epoch %d/%d", epoch + 1, self.config.training.epochs)
            log.info(
                "[AF-Guided Masking] seed %d, rate %.2f, rare sites %.2f: %.1f%% of sites hidden "
                "(expected)",
                *(epoch, masks.rate(epoch), masks.rare_rate, share),
            )
        return seconds

    def take_step(self, group: Group) -> None:
        """Take one optimizer step along the gradient of an accumulation group."""
        config = self.config.training
        num_scored = torch.stack([inputs[0].num_scored for inputs in group]).sum()
        self.ranks.all_reduce_sum(num_scored)
        torch.manual_seed(self.ranks.step_seed(config.seed, self.step))
        before = StepState(self.step, self.num_batches_done, random_state(self.device))
        sums, losses = self.runner.backward(group, num_scored)
        losses = self.ranks.all_reduce_gradients(self.network, losses)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.guard.record(before, losses, norm)
        if not self.reads_late:
            self._check_finite()
        rate = learning_rate(config, self.step, self.steps_per_epoch)
        optimizer_step(self.optimizer, rate, self.guard.bad if self.reads_late else None)
        self.sums.add(sums, self.guard.bad)
        self.step += 1
        self.num_batches_done += len(group)

    def _validate(self) -> tuple[float, dict[str, float]]:
        """Return the mean loss and the metrics at the hidden sites of validation."""
        loader = self.val_loader
        loader.begin_epoch(VALIDATION_SEED)
        self.network.eval()
        sums = EpochSums(self.device)
        log.info("Validation...")
        with self._progress(loader) as progress:
            for inputs in loader.batches(VALIDATION_SEED):
                sums.add(self.runner.evaluate(inputs))
                self._advance(progress, self.ranks.size, sums)
                self._answer_requests()
        sums = sums.over(self.ranks)
        return sums.mean_loss, sums.metrics.compute()

    def _end_epoch(self, val_loss: float, results: dict[str, float]) -> None:
        """Report an epoch, save it, and begin the next one from what is saved."""
        self.clock.tick(training=False)
        epoch, clock = self.epoch, self.clock
        row = {
            "epoch": epoch,
            "mask_rate": self.config.masks.rate(epoch),
            "train_loss": self.sums.over(self.ranks).mean_loss,
            "val_loss": val_loss,
            **results,
        }
        timing = {"epoch": epoch, "seconds": clock.seconds, "data_share": clock.data_share}
        log.info("Time: %s", clock)
        log.info("%s", peak_line(self.device))
        self._log_results(row)
        self.scalars.write(self.step, {k: v for k, v in {**row, **timing}.items() if k != "epoch"})
        is_best = self.stopping.update(epoch, results["f1_overall"])
        self.history.append(row)
        self.timing.append(timing)
        self.epoch, self.num_batches_done = epoch + 1, 0
        self.sums, self.clock = EpochSums(self.device), EpochClock()
        path = checkpoint_path(self.folder, epoch)
        self._save(path)
        with self.ranks.raise_on_all_ranks():
            if self.ranks.is_writer:
                if is_best:
                    mark_best(path, self.folder)
                self.tidy_output()
        log.info("Saved %s%s", path, " (best so far)" if is_best else "")

    # --- reports ----------------------------------------------------------------------------------

    def _progress(self, loader: Loader, done: int = 0) -> Progress:
        return Progress("batch", len(loader.sampler), done, shown=self.ranks.is_writer)

    def _advance(self, progress: Progress, num_batches: int, sums: EpochSums) -> None:
        """Count batches as done; the loss in a log line is the mean so far, of this rank's share.

        So it needs no answer from other ranks, and only the device of this one is waited for.
        """
        progress.advance(num_batches, lambda: f"[Batch {progress}] Loss: {sums.mean_loss:.4f}")

    def _show(self, progress: Progress) -> None:
        """Read the sums from the device and show them; this and a log line that is due wait."""
        self._check_finite()
        sums = self.sums.over(self.ranks)
        loss, recall = sums.mean_loss, sums.metrics.compute()["recall_overall"]
        progress.bar.set_postfix(loss=f"{loss:.4f}", recall=f"{recall:.4f}")
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.scalars.write(self.step, {"loss": loss, "recall": recall, "rate": rate})

    def _log_results(self, row: dict[str, Any]) -> None:
        num_samples = self.data.validation.haplotypes.num_samples
        log.info("Train loss %.4f, validation loss %.4f", row["train_loss"], row["val_loss"])
        log.info(
            f"Validation Metrics: (hidden sites of {num_samples} samples, seed {VALIDATION_SEED}, "
            f"rate {self.config.masks.val_rate:.2f})"
        )
        for line in tables.metrics_lines(row):
            log.info("%s", line)

    # --- between two steps ------------------------------------------------------------------------

    def _answer_requests(self) -> None:
        """Save if a signal or the clock asks for it, and end the run if a signal does."""
        minutes = self.config.run.save_every_minutes
        is_due = 0 < 60 * minutes <= time.monotonic() - self._saved_at
        wanted = self.requests.save
        if wanted:  # a signal that arrives only now is answered after the next step
            self.requests.save = False
        wanted |= is_due and self.ranks.is_writer
        # All ranks save, and end, after the same step.
        stop, save = self.ranks.all_reduce_max(self.requests.stop, wanted)
        if not (stop or save):
            return
        self.clock.tick(training=self.network.training)
        self._check_finite()
        path = step_path(self.folder)
        self._save(path)
        done, total = self.num_batches_done, len(self.train_loader.sampler)
        log.info("Saved %s: epoch %d, after batch %d of %d", path, self.epoch + 1, done, total)
        if stop:
            raise TrainingInterrupted(stop)

    def _check_finite(self) -> None:
        """End the run if a loss is not finite, with the state before its step saved."""
        bad = self.guard.first_bad()
        if bad is None:
            return
        before, index = bad
        self.step, self.num_batches_done = before.step, before.num_batches_done
        set_random_state(self.device, before.random_state)
        self.optimizer.zero_grad(set_to_none=True)
        path = step_path(self.folder)
        self._save(path)
        batch = before.num_batches_done + index
        names = self.data.train.haplotypes.samples
        keys = next(self.train_loader.sampler.batches(self.epoch, batch))
        what, found = (
            "window and sample of its keys",
            [f"{k.window} {names[k.sample]}" for k in keys],
        )
        if self.train_loader.sampler.whole_samples:
            what, found = "its samples", sorted({names[key.sample] for key in keys})
        with self.ranks.raise_on_all_ranks():  # every rank has this error, one reports it
            raise InputError(
                f"the loss or its gradient is not finite at step {before.step}, epoch index "
                f"{self.epoch}, batch {batch} ({what}: {', '.join(found)}): the state "
                f"before that step is saved in {path}"
            )

    # --- checkpoints ------------------------------------------------------------------------------

    def _save(self, path: Path) -> None:
        self.scalars.flush()
        sums = self.sums.over(self.ranks)
        with self.ranks.raise_on_all_ranks():
            if self.ranks.is_writer:
                save_checkpoint(path, self._state(sums.state()))
        self._saved_at = time.monotonic()

    def _state(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of a checkpoint: schedule, sampler and scaling have no state."""
        return {
            "epoch": self.epoch - 1,
            "step": self.step,
            "num_batches_done": self.num_batches_done,
            "config": to_tables(self.config),
            "fingerprints": dict(self.data.fingerprints),
            "num_ranks": self.ranks.size,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": random_state(self.device),
            "early_stopping": asdict(self.stopping),
            "sums": sums,
            "clock": asdict(self.clock),
            "baselines": self.baselines,
            "history": self.history,
            "timing": self.timing,
            "log_bytes": log_bytes(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from the content of a checkpoint."""
        self.network.load_state_dict(content["model"])
        share_rates(self.network, (self.train_loader, self.val_loader))
        optimizer = content["optimizer"]
        for parameters in optimizer["param_groups"]:  # the device may be another now
            parameters["fused"] = self.optimizer.defaults["fused"]
        self.optimizer.load_state_dict(optimizer)
        set_random_state(self.device, content["random_state"])
        self.epoch = int(content["epoch"]) + 1
        self.step = int(content["step"])
        self.num_batches_done = int(content["num_batches_done"])
        self.stopping = EarlyStopping(**content["early_stopping"])
        self.baselines = content["baselines"]
        self.history = [dict(row) for row in content["history"]]
        self.timing = [dict(row) for row in content["timing"]]
        self.clock = EpochClock(**content["clock"])
        if self.ranks.is_writer:  # the sums are those of all ranks
            self.sums.restore(content["sums"])

    def tidy_output(self) -> None:
        """Bring the output folder into agreement with the checkpoint saved or restored."""
        tables.write_table(self.folder / "metrics.csv", tables.COLUMNS, self.history)
        tables.write_table(self.folder / "timing.csv", tables.TIMING_COLUMNS, self.timing)
        if self.num_batches_done == 0:
            remove_old(self.folder, self.epoch - 1, self.config.run.keep)
