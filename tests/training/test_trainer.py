"""The trainer between two steps, and before the first."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from snvrag import log
from snvrag.io.checkpoint import load_checkpoint
from snvrag.kernels import HammingIndex, li_stephens_evidence
from snvrag.training import trainer as trainer_module
from snvrag.training.distributed import Ranks
from snvrag.training.signals import Requests, TrainingInterrupted
from training_runs import (
    assert_same_checkpoint,
    checkpoint,
    checkpoint_names,
    make_trainer,
    run_train,
)


@pytest.fixture
def trainer(tiny_arguments, tmp_path):
    return make_trainer([*tiny_arguments, "--output", str(tmp_path)])


class LateRequests(Requests):
    """A signal that arrives right after the trainer has looked whether there is one."""

    comes = False
    _save = False

    @property
    def save(self) -> bool:
        seen, self._save = self._save, self._save or self.comes
        return seen

    @save.setter
    def save(self, value: bool) -> None:
        self._save = value


def test_a_signal_that_comes_late_is_answered_a_step_later(trainer, tmp_path):
    trainer.requests = LateRequests()
    for comes, names in ((True, []), (False, ["step"]), (False, [])):
        trainer.requests.comes = comes
        trainer._answer_requests()
        assert checkpoint_names(tmp_path) == names
        (tmp_path / "rag_bert.model.step").unlink(missing_ok=True)


def test_a_signal_before_the_first_step(trainer, tiny_arguments, tmp_path, monkeypatch):
    """While baselines are evaluated: they are evaluated anew when the run continues."""
    evaluate = trainer_module.evaluate_baselines

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments)

    monkeypatch.setattr(trainer_module, "evaluate_baselines", interrupted)
    with pytest.raises((TrainingInterrupted, KeyboardInterrupt)) as ended:
        trainer.fit()
    assert ended.type is TrainingInterrupted
    content = load_checkpoint(tmp_path / "rag_bert.model.step")
    assert (content["step"], content["baselines"]) == (0, {})
    monkeypatch.undo()
    options = ["--output", str(tmp_path), "--epochs", "1"]
    run_train([*tiny_arguments, *options, "--resume", "auto"])
    resumed = checkpoint(tmp_path, "ep0")
    run_train([*tiny_arguments, *options, "--overwrite"])
    assert_same_checkpoint(checkpoint(tmp_path, "ep0"), resumed)


def test_baselines_are_those_of_before_in_a_resumed_run(tiny_arguments, tmp_path, monkeypatch):
    """The untrained network is gone, and the others need not be computed again."""
    arguments = [*tiny_arguments, "--output", str(tmp_path)]
    first = run_train([*arguments, "--epochs", "1"]).out.splitlines()
    monkeypatch.delattr(trainer_module, "evaluate_baselines")
    resumed = run_train([*arguments, "--epochs", "2", "--resume", "auto"]).out.splitlines()
    start = first.index("Validation, hidden sites, by epoch and beside the baselines:")
    rows = first[start + 1 : start + 7]  # titles, four baselines, the first epoch
    assert [row[:11] for row in rows[3:]] == ["Li-Stephens", "untrained n", "epoch 1    "]
    assert [line for line in resumed if line in rows] == rows


def test_only_the_rank_that_writes_reads_the_loss_for_a_line(trainer, monkeypatch):
    """It waits for the device; and every rank has as many batches as there are ranks."""
    monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0)
    for rank, lines in ((0, ["[Batch 2/8] Loss: 0.0000"]), (1, [])):
        trainer.ranks = Ranks(rank, 2)
        logged: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(log.log, "info", lambda form, text, to=logged: to.append(form % text))
            with trainer._progress(trainer.train_loader) as progress:
                trainer._advance(progress, trainer.ranks.size, trainer.sums if rank == 0 else None)
        assert logged == lines


def test_switching_epochs_makes_no_mask(trainer, monkeypatch):
    """The dataset makes each with its batch."""

    def fail(*_, **__):
        raise AssertionError("a mask is made")

    monkeypatch.setattr("snvrag.batches.masks.af_guided_mask", fail)
    assert 0 <= trainer._begin_epoch() < 0.1


def test_every_search_and_model_has_the_threads_of_the_run(tiny_arguments, tmp_path, monkeypatch):
    """So are torch and the baselines."""
    seen = set()

    def recorded(kernel):
        def call(*args, **options):
            seen.add((options["threads"], torch.get_num_threads()))
            return kernel(*args, **options)

        return call

    monkeypatch.setattr(HammingIndex, "search", recorded(HammingIndex.search))
    model = "snvrag.batches.evidence.li_stephens_evidence"
    monkeypatch.setattr(model, recorded(li_stephens_evidence))
    for threads in (1, 3):
        folder = str(tmp_path / str(threads))
        once = ["--epochs", "1", "--threads", str(threads), "--output", folder]
        run_train([*tiny_arguments, *once])
        assert seen == {(threads, threads)}
        seen.clear()


def test_training_and_validation_share_the_budget(trainer):
    caches = [loader.retriever.cache for loader in (trainer.train_loader, trainer.val_loader)]
    assert caches[0] is caches[1]
    assert caches[0].budget_bytes == trainer.config.retrieval.cache_mb * 2**20


def test_torch_has_one_thread_for_a_head(head_arguments, tmp_path):
    """Its layers are too small to share; and so its weights do not depend on the threads."""
    found = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        once = ["--epochs", "1", "--threads", str(threads), "--output", str(folder)]
        run_train([*head_arguments, *once])
        assert torch.get_num_threads() == 1
        found.append(checkpoint(folder, "ep0"))
    assert_same_checkpoint(*found)


def test_rates_are_learned_once_a_run(head_arguments, tmp_path, monkeypatch):
    """They and what standardises the evidence are in the checkpoint."""
    arguments = [*head_arguments, "--output", str(tmp_path)]
    printed = run_train([*arguments, "--epochs", "1"])
    assert printed.out.count("Learning rates...") == 1
    model = checkpoint(tmp_path, "ep0")["model"]
    trainer = make_trainer(arguments)
    assert not torch.equal(model["cumulative_rho"], trainer.network.cumulative_rho)
    assert model["head.mean"].any()
    monkeypatch.delattr("snvrag.training.networks.learned_rates")
    run_train([*arguments, "--resume", "auto"])
    trainer.restore(checkpoint(tmp_path, "ep2"))
    for loader in (trainer.train_loader, trainer.val_loader):
        rho = torch.from_numpy(loader.dataset.rates.cumulative_rho)
        assert torch.equal(rho, model["cumulative_rho"])
        assert loader.dataset.rates.mismatch == float(model["mismatch"])
