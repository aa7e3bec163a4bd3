"""Checkpoints are written atomically, checked to the last bit, and run no code."""

from __future__ import annotations

import errno
import os
import re

import pytest
import torch

from snvrag._installation import version_line
from snvrag.errors import InputError
from snvrag.io import atomic, checkpoint
from snvrag.io.checkpoint import (
    DamagedCheckpointError,
    checkpoint_path,
    epoch_checkpoints,
    load_checkpoint,
    save_checkpoint,
)


def content(value: float = 1.0):
    return {
        **dict.fromkeys(checkpoint._FIELDS[1:], 0),
        "config": {"seed": 3},
        "model": {"weight": torch.full((50, 40), value)},
        "random_state": {"torch": torch.get_rng_state()},
        "history": [{"epoch": 0, "f1_overall": float("nan")}],
    }


@pytest.fixture
def path(tmp_path):
    return checkpoint_path(tmp_path, 0)


def test_what_is_saved_is_loaded(path):
    saved = content(value=0.25)
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert set(loaded) == {"format", "written_by", *saved}
    assert loaded["written_by"] == version_line()
    assert loaded["config"] == saved["config"]
    for content_read in (loaded, torch.load(path, weights_only=True)):  # without this package, too
        assert torch.equal(content_read["model"]["weight"], saved["model"]["weight"])
    assert os.listdir(path.parent) == ["rag_bert.model.ep0"]


def test_epoch_checkpoints_by_number(tmp_path):
    for name in ("ep10", "ep2", "ep3.tmp", "epx", "step", "best", "ep4.superseded"):
        (tmp_path / f"rag_bert.model.{name}").touch()
    assert list(epoch_checkpoints(tmp_path)) == [2, 10]
    assert epoch_checkpoints(tmp_path)[10] == checkpoint_path(tmp_path, 10)


def failing(error, part=b"PK half of it"):
    """Return a function that fails, having written to its last argument if that is a stream."""

    def fail(*given):
        if hasattr(given[-1], "write"):
            given[-1].write(part)
        raise error

    return fail


FAIL = failing(OSError(errno.EIO, "Input/output error"))


@pytest.mark.parametrize("old", [True, False])
def test_a_failing_write_leaves_the_old_file(path, monkeypatch, old):
    if old:
        save_checkpoint(path, content(value=3.0))
    failures = [
        (torch, "save", failing(OSError(errno.ENOSPC, "No space left")), "No space left"),
        (torch, "save", failing(RuntimeError("[enforce fail]\nmore")), "[enforce fail]"),
        (torch, "save", failing(KeyboardInterrupt()), None),
        (atomic.os, "fsync", FAIL, "Input/output error"),
        (atomic.os, "replace", FAIL, "Input/output error"),
    ]
    for module, name, fail, cause in failures:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fail)
            with pytest.raises(InputError if cause else KeyboardInterrupt) as failed:
                save_checkpoint(path, content(value=4.0))
        if cause:
            assert str(failed.value) == f"{path}: cannot be written ({cause})"
        assert os.listdir(path.parent) == ([path.name] if old else [])
        assert not old or float(load_checkpoint(path)["model"]["weight"][0, 0]) == 3.0


def test_it_is_flushed_before_it_is_renamed(path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(atomic.os, "fsync", lambda f: (done.append("fsync"), fsync(f)))
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    save_checkpoint(path, content())
    assert done == ["fsync", "replace", "fsync"]  # the file, its name, the folder


class Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('evil_was_here').touch()",))


def test_no_code_of_a_file_is_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(path, {**content(), "model": Evil()})
    with pytest.raises(InputError, match="damaged, or not a checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "evil_was_here").exists()


def test_any_damage_is_found(path):
    """In the weights, too, which zip's own reader may not check."""
    save_checkpoint(path, content())
    intact = path.read_bytes()

    def flipped(place):
        return intact[:place] + bytes([intact[place] ^ 1 << place % 8]) + intact[place + 1 :]

    whole_archive = len(intact) - checkpoint._TRAILER_BYTES
    ends = [
        0,
        1,
        4,
        whole_archive,
        100,
        *range(500, len(intact), len(intact) // 15),
        len(intact) - 1,
    ]
    places = {*range(0, len(intact), 97), *range(len(intact) - 90, len(intact))}
    places.add(intact.index(b"\x00\x00\x80\x3f" * 100) + 150)  # 1.0, in the weights
    damaged = [intact[:end] for end in ends] + [flipped(place) for place in sorted(places)]
    for data in [*damaged, intact + b"\n"]:
        path.write_bytes(data)
        with pytest.raises(DamagedCheckpointError, match="damaged") as refused:
            load_checkpoint(path)
        assert str(refused.value).startswith(f"resume {path}: ")
        assert "\n" not in str(refused.value)
    path.write_bytes(intact)
    load_checkpoint(path)


def test_no_file(tmp_path, path, monkeypatch):
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(DamagedCheckpointError, match="no such file"):
            load_checkpoint(missing)
    save_checkpoint(path, content())
    monkeypatch.setattr(checkpoint, "open", FAIL, raising=False)
    with pytest.raises(InputError, match=r"cannot be read \(Input/output error\)") as refused:
        load_checkpoint(path)
    assert not isinstance(refused.value, DamagedCheckpointError)


def test_files_of_other_programs(path):
    """A whole network, as V18 saves it, or its weights: under the same names, and not damaged."""
    for other in (torch.nn.Linear(2, 2), {"state_dict": {}}, [1, 2], torch.zeros(3)):
        torch.save(other, path)
        with pytest.raises(InputError, match="not a checkpoint of snvrag, but") as refused:
            load_checkpoint(path)
        assert not isinstance(refused.value, DamagedCheckpointError)
        assert refused.value.argument == "resume"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DamagedCheckpointError):
            load_checkpoint(path)


def test_another_version_or_something_else(path, monkeypatch):
    """One of another version is no reason to take an older one of the same run."""
    torch.save({"format": None, **content()}, path)
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(path)
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "FORMAT", "snvrag checkpoint 1")
        older.setattr(checkpoint, "version_line", lambda: "snvrag 0.0.9 (commit abc, avx2)")
        save_checkpoint(path, content())
    words = re.escape(
        f"of this version of snvrag ({checkpoint.FORMAT}), got snvrag checkpoint 1 written by "
        "snvrag 0.0.9 (commit abc, avx2): use the version that wrote it"
    )
    with pytest.raises(InputError, match=words) as refused:
        load_checkpoint(path, argument="model")
    assert refused.value.argument == "model"
    assert not isinstance(refused.value, DamagedCheckpointError)


def test_a_missing_part(path):
    for name in content():
        parts = content()
        del parts[name]
        save_checkpoint(path, parts)
        with pytest.raises(DamagedCheckpointError, match=f"has no {name}"):
            load_checkpoint(path)
