"""Which checkpoint is resumed, which is refused, and what is left in the folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from snvrag.config.options import build, entries, to_tables
from snvrag.errors import InputError
from snvrag.io import checkpoint
from snvrag.io.checkpoint import (
    best_path,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
    step_path,
)
from snvrag.training.options import Config
from snvrag.training.run_folder import (
    Resumed,
    check_resumable,
    find_checkpoint,
    mark_best,
    noted_changes,
    remove_old,
    restore_best,
    set_aside_newer,
)
from training_runs import checkpoint_names

FINGERPRINTS = {"panel": "f" * 64, "validation samples": "e" * 64, "genetic map": "d" * 64}


def content(epoch: int = 0, **options) -> dict:
    """Return the content of a checkpoint, without what nothing here looks at."""
    plain = dict.fromkeys(set(checkpoint._FIELDS) - {"format"}, 0)
    config = to_tables(build(Config, options))
    return {**plain, "epoch": epoch, "config": config, "fingerprints": FINGERPRINTS}


def resumed(epoch: int = 0, **options) -> Resumed:
    return Resumed(Path("folder/rag_bert.model.ep0"), content(epoch, **options))


@pytest.fixture
def folder(tmp_path):
    """Epochs 0 to 2 and a step of epoch index 3."""
    for epoch in range(3):
        save_checkpoint(checkpoint_path(tmp_path, epoch), content(epoch))
    save_checkpoint(step_path(tmp_path), content(2))
    return tmp_path


def damage(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


# --- may it be resumed ----------------------------------------------------------------------------


def another(value, kind):
    """Return a value of an option that differs and is allowed."""
    if "Literal" in str(kind):
        return next(choice for choice in kind.__args__ if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, value[0])
    if isinstance(value, float):
        return value / 2 + 0.01
    return 2 * value or 1 if isinstance(value, int) else "text"


def test_every_option_may_change_or_not_as_it_says():
    """The metadata of an option decides; the message names that option and no other."""
    for entry in entries(Config):
        name = entry.item.name
        if name == "resume_epoch":  # which needs resume
            continue
        value = 3 if "int | None" in str(entry.kind) else another(entry.item.default, entry.kind)
        given = {"network": "transformer"} if name in ("retrieval", "compile") else {}
        config, before = build(Config, {**given, name: value}), resumed(**given)
        line = f"{name} was {to_tables(build(Config, given)).get(entry.table, {}).get(name)}, is "
        notes = noted_changes(before, config)
        may = entry.item.metadata["resume"]
        assert [note.startswith(line) for note in notes] == ([True] if may == "noted" else [])
        if may == "same":
            with pytest.raises(InputError) as refused:
                check_resumable(before, config, FINGERPRINTS)
            assert line in str(refused.value)
            assert str(refused.value).count(" was ") == 1
            assert refused.value.argument == "resume"
        else:
            check_resumable(before, config, FINGERPRINTS)


def test_all_differences_are_named():
    config = build(Config, {"k": 3, "layers": 1})
    with pytest.raises(InputError, match=r"k was 1, is 3; layers was 12, is 1"):
        check_resumable(resumed(), config, FINGERPRINTS)
    for now, words in (
        ({"panel": "0"}, "another panel:"),
        ({"panel": "0", "genetic map": "0"}, "another panel and another genetic map:"),
        ({"genetic map": None}, "another genetic map:"),
        ({"training samples": "0"}, "another training samples"),
    ):
        now = {name: value for name, value in {**FINGERPRINTS, **now}.items() if value}
        with pytest.raises(InputError, match=words):
            check_resumable(resumed(), build(Config, {}), now)


@pytest.mark.parametrize(("epoch", "asked"), [(0, 0), (0, 2), (10, 1)])
def test_another_epoch_than_asked(epoch, asked):
    options = {"resume": "x", "resume_epoch": asked}
    with pytest.raises(InputError, match=rf"must be {epoch + 1}, .*, got {asked}$") as refused:
        check_resumable(resumed(epoch), build(Config, options), FINGERPRINTS)
    assert refused.value.argument == "resume_epoch"
    options["resume_epoch"] = epoch + 1
    check_resumable(resumed(epoch), build(Config, options), FINGERPRINTS)


# --- the newest intact one ------------------------------------------------------------------------


def find(folder: Path) -> tuple[str | None, list[str]]:
    found, warnings = find_checkpoint(build(Config, {"resume": "auto", "output": str(folder)}))
    return found.path.name.removeprefix("rag_bert.model.") if found else None, warnings


def test_the_newest_is_taken(folder):
    assert find(folder) == ("step", [])
    save_checkpoint(checkpoint_path(folder, 3), content(3))  # newer than a step of its epoch
    assert find(folder) == ("ep3", [])
    for epoch in (9, 10):
        save_checkpoint(checkpoint_path(folder, epoch), content(epoch))
    assert find(folder) == ("ep10", [])


def test_damaged_ones_are_skipped_and_named(folder):
    damage(step_path(folder))
    damage(checkpoint_path(folder, 2))
    checkpoint_path(folder, 1).write_bytes(b"")
    name, warnings = find(folder)
    assert name == "ep0"
    skipped = (step_path(folder), checkpoint_path(folder, 2), checkpoint_path(folder, 1))
    assert [line.partition(": ")[0] for line in warnings] == [f"skipped {path}" for path in skipped]


def test_what_is_not_damaged_is_not_skipped(folder, monkeypatch):
    """A run of another version, or a folder of somebody else: a fresh start would overwrite it."""
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


def test_the_best_is_the_last_resort(folder, tmp_path):
    """Older epochs may have been removed."""
    for path in folder.iterdir():
        damage(path)
    assert find(folder)[0] is None
    save_checkpoint(best_path(folder), content(1))
    name, warnings = find(folder)
    assert name == "best"
    assert len(warnings) == 4
    empty = tmp_path / "empty"
    assert find(empty) == (None, [])
    empty.mkdir()
    assert find(empty) == (None, [])
    assert find_checkpoint(build(Config, {"output": str(folder)})) == (None, [])  # not resumed


# --- what is left in the folder -------------------------------------------------------------------


def test_newer_checkpoints_are_set_aside(folder):
    set_aside_newer(step_path(folder), 2, folder)
    assert checkpoint_names(folder) == ["ep0", "ep1", "ep2", "step"]
    set_aside_newer(checkpoint_path(folder, 1), 1, folder)
    assert checkpoint_names(folder) == ["ep0", "ep1", "ep2.superseded", "step.superseded"]
    assert find(folder) == ("ep1", [])


@pytest.mark.parametrize(
    ("keep", "left"),
    [(0, ["ep0", "ep1", "ep2"]), (1, ["ep2"]), (2, ["ep1", "ep2"]), (9, ["ep0", "ep1", "ep2"])],
)
def test_the_last_ones_are_kept(folder, keep, left):
    remove_old(folder, 2, keep)
    assert checkpoint_names(folder) == left


# --- the best -------------------------------------------------------------------------------------


def test_best_that_is_resumed_from_is_never_removed(tmp_path):
    """Its own epoch's checkpoint may be gone; then it is the only copy."""
    best, other = best_path(tmp_path), checkpoint_path(tmp_path, 0)
    best.write_bytes(b"weights")
    restore_best(best, 3, tmp_path)
    assert best.read_bytes() == b"weights"
    other.write_bytes(b"older")
    restore_best(other, 3, tmp_path)
    assert not best.exists()
    restore_best(other, 0, tmp_path)
    assert best.read_bytes() == b"older"


def test_best_is_not_replaced_by_a_damaged_one(folder):
    """If it is a copy, it may be the only intact one of its epoch."""
    save_checkpoint(best_path(folder), content(1))
    for spoil in (damage, Path.unlink):  # or not kept
        spoil(checkpoint_path(folder, 1))
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
    assert checkpoint_names(tmp_path) == ["best", "ep0"]
