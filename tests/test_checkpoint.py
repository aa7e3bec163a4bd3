"""Checkpoints are whole or not there, and run no code."""

from __future__ import annotations

import errno
import os
import re

import pytest
import torch

from snvrag import checkpoint
from snvrag.checkpoint import (
    FORMAT,
    check_resumable,
    checkpoint_path,
    load_checkpoint,
    restore_best,
    save_checkpoint,
)
from snvrag.config import FREE_FIELDS, Config
from snvrag.errors import InputError


def content(epoch: int = 0, config: Config = Config(), value: float = 1.0):  # noqa: B008
    return {
        "epoch": epoch,
        "step": 12,
        "config": config.to_dict(),
        "fingerprint": "f" * 64,
        "model": {"weight": torch.full((50, 40), value)},
        "optimizer": {},
        "schedule": {"step": 12},
        "scaler": {},
        "early_stopping": {},
        "random_state": {"torch": torch.get_rng_state()},
        "epoch_position": 0,
        "history": [{"epoch": 0, "f1_overall": float("nan")}],
    }


@pytest.fixture
def path(tmp_path):
    return checkpoint_path(tmp_path, 0)


def test_name_is_the_contracts(tmp_path):
    assert checkpoint_path(tmp_path, 7) == tmp_path / "rag_bert.model.ep7"
    assert checkpoint_path(str(tmp_path), 0).name == "rag_bert.model.ep0"


def test_what_is_saved_is_loaded(path):
    saved = content(value=0.25)
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert set(loaded) == {"format", *saved}
    assert torch.equal(loaded["model"]["weight"], saved["model"]["weight"])
    assert loaded["config"] == saved["config"]
    assert os.listdir(path.parent) == [path.name]


class Half:
    """A torch.save that writes a part and fails."""

    def __init__(self, error):
        self.error = error

    def __call__(self, content, stream):
        stream.write(b"PK half of it")
        stream.flush()
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("[enforce fail]\nmore lines")],
)
@pytest.mark.parametrize("old", [True, False])
def test_a_failing_write_leaves_the_old_file_whole(path, monkeypatch, error, old):
    if old:
        save_checkpoint(path, content(value=3.0))
    before = path.read_bytes() if old else None
    monkeypatch.setattr(checkpoint.torch, "save", Half(error))
    with pytest.raises(InputError, match=re.escape(str(path))) as failed:
        save_checkpoint(path, content(value=4.0))
    assert "\n" not in str(failed.value)
    assert os.listdir(path.parent) == ([path.name] if old else [])
    if old:
        assert path.read_bytes() == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failing_at_any_step_leaves_the_old_file_whole(path, monkeypatch, step):
    save_checkpoint(path, content(value=3.0))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.os, step, fail)
        with pytest.raises(InputError, match="Input/output error"):
            save_checkpoint(path, content(value=4.0))
    assert float(load_checkpoint(path)["model"]["weight"][0, 0]) == 3.0
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupted_write_leaves_the_old_file_whole(path, monkeypatch):
    save_checkpoint(path, content(value=3.0))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.torch, "save", Half(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, content(value=4.0))
    assert float(load_checkpoint(path)["model"]["weight"][0, 0]) == 3.0
    save_checkpoint(path, content(value=5.0))
    assert float(load_checkpoint(path)["model"]["weight"][0, 0]) == 5.0


def test_it_is_flushed_before_it_is_renamed(path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(checkpoint.os, "fsync", lambda f: (done.append("fsync"), fsync(f)))
    monkeypatch.setattr(
        checkpoint.os, "replace", lambda a, b: (done.append("replace"), replace(a, b))
    )
    save_checkpoint(path, content())
    assert done[:2] == ["fsync", "replace"]


class Evil:
    ran = False

    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('evil_was_here').touch()",))


def test_no_code_of_a_file_is_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": FORMAT, **content(), "model": Evil()}, path)
    with pytest.raises(InputError, match="damaged, or not a checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "evil_was_here").exists()


def test_a_pickled_module_is_refused(path):
    """V18's checkpoints were such."""
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(path)


def test_truncated_anywhere(path):
    save_checkpoint(path, content())
    whole = path.read_bytes()
    for length in [0, 1, 4, 100, *range(500, len(whole), len(whole) // 15), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=re.escape(str(path))) as refused:
            load_checkpoint(path)
        assert "\n" not in str(refused.value)


def test_not_there_or_a_folder(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "other",
    [
        {"format": "snvrag checkpoint 0"},
        {"format": None},
        {"state_dict": {}},
        [1, 2],
        torch.zeros(3),
    ],
)
def test_another_format(path, other):
    torch.save({**content(), **other} if isinstance(other, dict) else other, path)
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", sorted(content()))
def test_a_missing_part(path, name):
    parts = content()
    del parts[name]
    torch.save({"format": FORMAT, **parts}, path)
    with pytest.raises(InputError, match=f"has no {name}"):
        load_checkpoint(path)


# --- may it be resumed ----------------------------------------------------------------------------


def test_the_same_run_may(path):
    config = Config(resume=str(path), resume_epoch=4)
    check_resumable(str(path), content(3), config, "f" * 64)


CHANGES = {
    "window_size": 64, "flank": 3, "mask_rates": (0.5,), "epochs_per_rate": 1, "val_rate": 0.4,
    "rare_rate": 0.6, "rare_threshold": 0.01, "mask_generator": "mt19937", "k": 3,
    "segment_size": 0, "segment_flank": 1, "decay_sites": 2.0, "width": 32, "layers": 1,
    "heads": 1, "span": 0, "dropout": 0.1, "weighting": "rank", "copying": False, "batch_size": 3,
    "accumulation": 2, "learning_rate": 0.5, "warmup_steps": 1, "clip": 2.0, "focal_gamma": 1.0,
    "shuffle": "window", "seed": 1, "region": "1:1-5", "population_column": "super",
    "val_fraction": 0.3, "patience": 2, "min_gain": 0.5, "final_rate": 0.5,
    "li_stephens": False, "ne": (1e4, 1e5), "copy_error": 0.001, "copy_flank": -1,
    "genetic_map": "chr20.map", "chip_share": 0.5, "chip_density": (0.1, 0.2),
}  # fmt: skip


def test_every_field_is_free_or_checked_here():
    assert set(CHANGES) | FREE_FIELDS == set(Config().to_dict())


@pytest.mark.parametrize("name", CHANGES)
def test_another_configuration_is_named(path, name):
    config = Config(resume=str(path), **{name: CHANGES[name]})
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} was") as refused:
        check_resumable(str(path), content(), config, "f" * 64)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    others = [
        n for n in CHANGES if n != name and f"--{n.replace('_', '-')} was" in str(refused.value)
    ]
    assert others == []


def test_all_differences_are_named(path):
    config = Config(resume=str(path), k=3, layers=1)
    with pytest.raises(InputError, match=r"--k was 16, is 3.*--layers was 2, is 1"):
        check_resumable(str(path), content(), config, "f" * 64)


def test_free_options_may_change(path):
    config = Config(
        resume=str(path), output="elsewhere", workers=3, start_method="spawn", threads=1, epochs=99,
        cache_mb=1.0, plot=False, panel="renamed.vcf", overwrite=True,
    )  # fmt: skip
    check_resumable(str(path), content(), config, "f" * 64)


def test_another_panel(path):
    with pytest.raises(InputError, match="another panel") as refused:
        check_resumable(str(path), content(), Config(resume=str(path)), "e" * 64)
    assert "f" * 12 in str(refused.value)
    assert "e" * 12 in str(refused.value)


@pytest.mark.parametrize(("epoch", "asked"), [(0, 0), (0, 2), (3, 3), (10, 1)])
def test_another_epoch_than_asked(path, epoch, asked):
    config = Config(resume=str(path), resume_epoch=asked)
    with pytest.raises(InputError) as refused:
        check_resumable(str(path), content(epoch), config, "f" * 64)
    numbers = {int(number) for number in re.findall(r"(?<![\w.-])\d+\b", str(refused.value))}
    assert {asked, epoch + 1} <= numbers


def test_best_that_is_resumed_from_is_never_the_one_removed(tmp_path):
    """Its own epoch's checkpoint may be gone; then it is the only copy."""
    best = tmp_path / "rag_bert.model.best"
    best.write_bytes(b"weights")
    restore_best(str(best), 3, str(tmp_path))
    assert best.read_bytes() == b"weights"
    other = tmp_path / "rag_bert.model.ep0"
    other.write_bytes(b"older")
    restore_best(str(other), 3, str(tmp_path))
    assert not best.exists()
    restore_best(str(other), 0, str(tmp_path))
    assert best.read_bytes() == b"older"
