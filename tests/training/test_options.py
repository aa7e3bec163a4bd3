"""The configuration of a training run: presets, its file, and what may change on resuming."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from snvrag.config.command_line import parse
from snvrag.config.options import build, entries, to_tables
from snvrag.errors import InputError
from snvrag.training.options import Config


def parsed(*arguments: str) -> Config:
    config, warnings = parse("train", Config, "", arguments)
    assert warnings == []
    return config


def test_names_are_of_one_option_each():
    """They are given without their section."""
    names = [entry.name for entry in entries(Config)]
    assert len(set(names)) == len(names)
    assert not {item.name for item in fields(Config)} & set(names) - {"network", "retrieval"}


def test_v18s_network():
    """DESIGN, section 7."""
    config = parsed("--preset", "v18")
    assert (config.network.width, config.network.layers, config.network.heads) == (384, 12, 12)
    assert (config.network.network, config.network.dropout) == ("transformer", 0.1)
    assert (config.retrieval.k, config.retrieval.retrieval) == (1, "hamming")
    assert (config.windows.window_size, config.windows.equal_windows) == (1020, False)
    assert (config.training.batch_size, config.training.accumulation) == (8, 2)
    assert (config.training.focal_gamma, config.training.warmup_steps) == (2.0, 15_000)
    assert parsed("--preset", "small") == Config()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 64, "heads": 5}, "heads must be a divisor of the width 64, got 5"),
        ({"retrieval": "dense"}, "retrieval must be hamming for the head"),
        ({"compile": True}, "compile must be no for the head"),
        ({"resume_epoch": 1}, "resume_epoch must be given with a checkpoint to resume"),
    ],
)
def test_options_that_do_not_go_together(values, words):
    with pytest.raises(InputError, match=words):
        build(Config, values)


@pytest.mark.parametrize("preset", ["small", "v18"])
def test_its_file_gives_the_same_run(tmp_path, preset):
    odd = 'tab\t, "quotes", back\\slash, \x7f, é, 🧬, \n'
    arguments = ["--panel", odd, "--mask-rates", "0.1", "1e-5", "--amp", "no"]
    config = parsed("--preset", preset, *arguments)
    path = tmp_path / "run.toml"
    path.write_text(config.to_toml(), encoding="utf-8", newline="")
    assert parsed("--config", str(path)) == config
    tables = to_tables(config)
    assert json.loads(json.dumps(tables)) == tables


def test_what_belongs_to_one_start_is_not_written(tmp_path):
    path = tmp_path / "run.toml"
    start = {"resume": "x", "resume_epoch": 3, "overwrite": True, "dry_run": True}
    path.write_text(build(Config, {**start, "k": 3}).to_toml(), encoding="utf-8")
    assert parsed("--config", str(path)) == build(Config, {"k": 3})


def test_changes_say_whether_they_may():
    then = to_tables(build(Config, {"k": 3, "threads": 2, "output": "a"}))
    now = build(Config, {"k": 4, "output": "b", "mask_rates": (0.5,)})
    assert now.changes(then) == {
        "mask_rates": ("same", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.5]),
        "k": ("same", 3, 4),
        "output": ("free", "a", "b"),
        "threads": ("noted", 2, None),
    }
    assert now.changes(to_tables(now)) == {}


def test_nothing_that_changes_the_result_may_change_unnoticed():
    """All that windows, masks, retrieval, models, network and training depend on is the same."""
    may = {entry.name: (entry.table, entry.item.metadata["resume"]) for entry in entries(Config)}
    allowed = {"cache_mb", "epochs"}  # a budget, and how many more
    for name, (table, resume) in may.items():
        if resume != "same" and name not in allowed:
            assert table in ("run", "data"), name
        if table == "data":
            assert resume in ("same", "noted"), name
