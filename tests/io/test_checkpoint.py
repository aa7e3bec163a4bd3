"""Checkpoints are whole or not there, and run no code."""

from __future__ import annotations

import errno
import os
import re

import pytest
import torch

from snvrag.errors import InputError
from snvrag.io import atomic as files
from snvrag.io import checkpoint
from snvrag.io.checkpoint import (
    FORMAT,
    checkpoint_path,
    epoch_checkpoints,
    load_checkpoint,
    save_checkpoint,
)


def content(value: float = 1.0):
    return {
        "epoch": 0,
        "step": 12,
        "config": {"seed": 3},
        "fingerprints": {"panel": "f" * 64},
        "num_ranks": 1,
        "model": {"weight": torch.full((50, 40), value)},
        "optimizer": {},
        "early_stopping": {},
        "random_state": {"torch": torch.get_rng_state()},
        "num_batches_done": 0,
        "sums": {},
        "clock": {},
        "timing": [],
        "log_bytes": 0,
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
        patched.setattr(files.os, step, fail)
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
    monkeypatch.setattr(files.os, "fsync", lambda f: (done.append("fsync"), fsync(f)))
    monkeypatch.setattr(files.os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    save_checkpoint(path, content())
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


class Evil:
    ran = False

    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('evil_was_here').touch()",))


def test_no_code_of_a_file_is_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(path, {**content(), "model": Evil()})
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


def test_any_flipped_bit_is_found(path):
    """Those within the weights, too, which zip's own reader may not look at."""
    save_checkpoint(path, content())
    whole = path.read_bytes()
    places = {*range(0, len(whole), 97), *range(len(whole) - 90, len(whole))}
    places.add(whole.index(b"\x00\x00\x80\x3f" * 100) + 150)  # 1.0, in the weights
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(path)
    path.write_bytes(whole)
    load_checkpoint(path)


def test_bytes_too_many_are_found(path):
    save_checkpoint(path, content())
    with open(path, "ab") as stream:
        stream.write(b"\n")
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path)


def test_torch_reads_it_without_snvrag(path):
    save_checkpoint(path, content(value=0.5))
    loaded = torch.load(path, weights_only=True)
    assert torch.equal(loaded["model"]["weight"], content(value=0.5)["model"]["weight"])


def test_epoch_checkpoints_by_number(tmp_path):
    for name in ("ep10", "ep2", "ep3.tmp", "epx", "step", "best", "ep4.superseded"):
        (tmp_path / f"rag_bert.model.{name}").touch()
    assert list(epoch_checkpoints(tmp_path)) == [2, 10]
    assert epoch_checkpoints(tmp_path)[10] == checkpoint_path(tmp_path, 10)


def test_not_there_or_a_folder(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_checkpoint(path)


def test_not_to_be_read(path, monkeypatch):
    save_checkpoint(path, content())

    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "open", fail, raising=False)
    with pytest.raises(InputError) as refused:
        load_checkpoint(path)
    assert str(refused.value) == f"--resume {path}: cannot be read (Permission denied)"


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


def test_an_older_format(path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "FORMAT", "snvrag checkpoint 1")
        save_checkpoint(path, content())
    with pytest.raises(InputError, match=re.escape(f"of this version of snvrag ({FORMAT})")):
        load_checkpoint(path)


@pytest.mark.parametrize("name", sorted(content()))
def test_a_missing_part(path, name):
    parts = content()
    del parts[name]
    save_checkpoint(path, parts)
    with pytest.raises(InputError, match=f"has no {name}"):
        load_checkpoint(path)
