"""Which checkpoint is continued, and which is refused."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from snvrag.errors import InputError
from snvrag.io import checkpoint
from snvrag.io.checkpoint import (
    best_path,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
    step_path,
)
from snvrag.training.options import FREE_FIELDS, NOTED_FIELDS, Config
from snvrag.training.resume import changed_options, check_resumable, find_checkpoint
from snvrag.training.run_folder import mark_best, remove_old, restore_best, set_aside_later


def content(epoch: int = 0, config: Config = Config(), position: int = 0):  # noqa: B008
    return {
        "epoch": epoch,
        "step": 12,
        "config": config.to_dict(),
        "fingerprint": "f" * 64,
        "model": {},
        "optimizer": {},
        "schedule": {"step": 12},
        "scaler": {},
        "early_stopping": {},
        "random_state": {},
        "epoch_position": position,
        "progress": {},
        "history": [],
        "timing": [],
        "log_bytes": 0,
    }


@pytest.fixture
def path(tmp_path):
    return checkpoint_path(tmp_path, 0)


# --- may it be resumed ----------------------------------------------------------------------------


def test_the_same_run_may(path):
    config = Config(resume=str(path), resume_epoch=4)
    check_resumable(path, content(3), config, "f" * 64)


CHANGES = {
    "window_size": 64, "flank": 3, "mask_rates": (0.5,), "epochs_per_rate": 1, "val_rate": 0.4,
    "rare_rate": 0.6, "rare_threshold": 0.01, "mask_generator": "mt19937", "k": 3,
    "segment_size": 0, "segment_flank": 1, "decay_sites": 2.0, "width": 32, "layers": 1,
    "heads": 1, "span": 0, "dropout": 0.1, "weighting": "rank", "neighbour_prior": False, "batch_size": 3,
    "accumulation": 2, "learning_rate": 0.5, "warmup_steps": 1, "clip": 2.0, "focal_gamma": 1.0,
    "shuffle": "window", "seed": 1, "region": "1:1-5", "population_column": "super",
    "val_fraction": 0.3, "patience": 2, "min_gain": 0.5, "final_rate": 0.5,
    "li_stephens": False, "ne": (1e4, 1e5), "mismatch": 0.001, "li_stephens_flank": -1,
}  # fmt: skip


def test_every_field_is_free_or_checked_here():
    assert set(CHANGES) | FREE_FIELDS == set(Config().to_dict())


@pytest.mark.parametrize("name", CHANGES)
def test_another_configuration_is_named(path, name):
    config = Config(resume=str(path), **{name: CHANGES[name]})
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} was") as refused:
        check_resumable(path, content(), config, "f" * 64)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    others = [
        n for n in CHANGES if n != name and f"--{n.replace('_', '-')} was" in str(refused.value)
    ]
    assert others == []


def test_all_differences_are_named(path):
    config = Config(resume=str(path), k=3, layers=1)
    with pytest.raises(InputError, match=r"--k was 16, is 3.*--layers was 2, is 1"):
        check_resumable(path, content(), config, "f" * 64)


def test_free_options_may_change(path):
    config = Config(
        resume=str(path), output="elsewhere", workers=3, start_method="spawn", threads=1, epochs=99,
        cache_mb=1.0, plot=False, panel="renamed.vcf", overwrite=True, keep=2,
        save_every_minutes=1.0,
    )  # fmt: skip
    check_resumable(path, content(), config, "f" * 64)


def test_another_panel(path):
    with pytest.raises(InputError, match="another panel") as refused:
        check_resumable(path, content(), Config(resume=str(path)), "e" * 64)
    assert "f" * 12 in str(refused.value)
    assert "e" * 12 in str(refused.value)


@pytest.mark.parametrize(("epoch", "asked"), [(0, 0), (0, 2), (3, 3), (10, 1)])
def test_another_epoch_than_asked(path, epoch, asked):
    config = Config(resume=str(path), resume_epoch=asked)
    with pytest.raises(InputError) as refused:
        check_resumable(path, content(epoch), config, "f" * 64)
    numbers = {int(number) for number in re.findall(r"(?<![\w.-])\d+\b", str(refused.value))}
    assert {asked, epoch + 1} <= numbers


def test_best_that_is_resumed_from_is_never_the_one_removed(tmp_path):
    """Its own epoch's checkpoint may be gone; then it is the only copy."""
    best = tmp_path / "rag_bert.model.best"
    best.write_bytes(b"weights")
    restore_best(best, 3, tmp_path)
    assert best.read_bytes() == b"weights"
    other = tmp_path / "rag_bert.model.ep0"
    other.write_bytes(b"older")
    restore_best(other, 3, tmp_path)
    assert not best.exists()
    restore_best(other, 0, tmp_path)
    assert best.read_bytes() == b"older"


def test_best_stays_when_its_epoch_was_not_kept(tmp_path):
    resumed = checkpoint_path(tmp_path, 5)
    save_checkpoint(resumed, content(5))
    save_checkpoint(best_path(tmp_path), content(2))
    restore_best(resumed, 2, tmp_path)
    assert best_path(tmp_path).exists()
    restore_best(resumed, 3, tmp_path)
    assert not best_path(tmp_path).exists()


def test_best_is_not_replaced_by_what_is_damaged(folder):
    """Where it is a copy, it may be the only whole one of its epoch."""
    save_checkpoint(best_path(folder), content(1))
    damage(checkpoint_path(folder, 1))
    restore_best(step_path(folder), 1, folder)
    assert load_checkpoint(best_path(folder))["epoch"] == 1
    restore_best(step_path(folder), 0, folder)
    assert best_path(folder).samefile(checkpoint_path(folder, 0))


@pytest.mark.parametrize("link", [True, False])
def test_best_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, link):
    """Where there are no hard links it is a copy, which a loss of power must not leave empty."""
    path, done = checkpoint_path(tmp_path, 0), []
    path.write_bytes(b"weights")
    best_path(tmp_path).write_bytes(b"older")
    fsync, replace = os.fsync, os.replace

    def fail(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", lambda f: (done.append("fsync"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    if not link:
        monkeypatch.setattr(os, "link", fail)
    mark_best(path, tmp_path)
    assert done == (["replace", "fsync"] if link else ["fsync", "replace", "fsync"])
    assert best_path(tmp_path).read_bytes() == b"weights"
    assert best_path(tmp_path).samefile(path) == link
    assert names(tmp_path) == ["best", "ep0"]


# --- what differs but may -------------------------------------------------------------------------


def test_changes_worth_a_note():
    config = Config(epochs=9, workers=2, output="elsewhere", resume="x")
    assert changed_options(content(), config) == ["--epochs was 6, is 9", "--workers was 0, is 2"]
    assert NOTED_FIELDS < FREE_FIELDS


# --- the newest whole one -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Epochs 0 to 2 and a step of epoch index 3."""
    for epoch in range(3):
        save_checkpoint(checkpoint_path(tmp_path, epoch), content(epoch))
    save_checkpoint(step_path(tmp_path), content(2, position=4))
    return tmp_path


def damage(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def find(folder):
    resumed, warnings = find_checkpoint(Config(resume="auto", output=str(folder)))
    return resumed.path.name.removeprefix("rag_bert.model.") if resumed else None, warnings


def test_the_newest_is_taken(folder):
    assert find(folder) == ("step", [])
    step_path(folder).unlink()
    assert find(folder) == ("ep2", [])


def test_a_step_of_an_earlier_epoch_is_not_the_newest(folder):
    save_checkpoint(checkpoint_path(folder, 3), content(3))
    assert find(folder) == ("ep3", [])


def test_ten_is_newer_than_nine(tmp_path):
    for epoch in (9, 10):
        save_checkpoint(checkpoint_path(tmp_path, epoch), content(epoch))
    assert find(tmp_path)[0] == "ep10"


def test_damaged_ones_are_passed_over_and_named(folder):
    damage(step_path(folder))
    name, warnings = find(folder)
    assert name == "ep2"
    assert len(warnings) == 1
    assert str(step_path(folder)) in warnings[0]
    damage(checkpoint_path(folder, 2))
    checkpoint_path(folder, 1).write_bytes(b"")
    name, warnings = find(folder)
    assert name == "ep0"
    assert [str(path) in line for path, line in zip(
        (step_path(folder), checkpoint_path(folder, 2), checkpoint_path(folder, 1)), warnings,
        strict=True)] == [True] * 3  # fmt: skip


def test_what_is_not_damaged_is_not_passed_over(folder, monkeypatch):
    """A run of another version, or a folder of somebody else: a fresh start would write over it."""
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "FORMAT", "snvrag checkpoint 1")
        save_checkpoint(step_path(folder), content(2))
    with pytest.raises(InputError, match=r"step: .*not a checkpoint of this version"):
        find(folder)

    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "open", fail, raising=False)
    with pytest.raises(InputError, match=r"step: cannot be read \(Permission denied\)"):
        find(folder)


def test_the_best_is_the_last_resort(folder):
    """With --keep, no older epoch may be left."""
    for path in folder.iterdir():
        damage(path)
    assert find(folder)[0] is None
    save_checkpoint(best_path(folder), content(1))
    name, warnings = find(folder)
    assert name == "best"
    assert len(warnings) == 4


@pytest.mark.parametrize("missing", [True, False])
def test_a_fresh_start(tmp_path, missing):
    folder = tmp_path / "none" if missing else tmp_path
    assert find(folder) == (None, [])
    assert find_checkpoint(Config(output=str(folder))) == (None, [])


# --- what is left in the folder -------------------------------------------------------------------


def names(folder):
    return sorted(path.name.removeprefix("rag_bert.model.") for path in folder.iterdir())


def test_what_went_further_is_set_aside(folder):
    moved = set_aside_later(checkpoint_path(folder, 1), 1, folder)
    assert moved == [checkpoint_path(folder, 2), step_path(folder)]
    assert names(folder) == ["ep0", "ep1", "ep2.superseded", "step.superseded"]
    assert find(folder) == ("ep1", [])


def test_a_step_that_is_resumed_is_not_set_aside(folder):
    assert set_aside_later(step_path(folder), 2, folder) == []


@pytest.mark.parametrize(
    ("keep", "left"),
    [(0, ["ep0", "ep1", "ep2"]), (1, ["ep2"]), (2, ["ep1", "ep2"]), (9, ["ep0", "ep1", "ep2"])],
)
def test_the_last_ones_are_kept(folder, keep, left):
    remove_old(folder, 2, keep)
    assert names(folder) == left
