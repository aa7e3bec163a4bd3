"""The configuration of a training: V18's sizes, what may change on resume."""

from __future__ import annotations

import json

from snvrag.config.options import entries, preset_values, to_tables
from snvrag.training.options import Config
from training_runs import configure


def test_no_argument_gives_the_defaults():
    assert configure([]) == configure(["--preset", "small"]) == Config()


def test_v18s_sizes():
    """DESIGN, section 7."""
    config = configure(["--preset", "v18"])
    assert (config.network.width, config.network.layers, config.network.heads) == (384, 12, 12)
    assert (config.network.dropout, config.network.span) == (0.1, 0)
    assert (config.network.weighting, config.network.neighbour_prior) == ("rank", False)
    assert (config.windows.window_size, config.retrieval.k) == (1020, 1)
    assert (config.retrieval.segment_size, config.li_stephens.li_stephens) == (0, False)
    training = config.training
    assert (training.learning_rate, training.warmup_steps, training.final_rate) == (
        7.5e-5,
        15_000,
        1,
    )
    assert (training.clip, training.accumulation, training.focal_gamma) == (1.0, 2, 2.0)
    assert (training.epochs, training.patience, training.min_gain) == (20, 5, 0.001)


def test_options_come_on_top_of_a_preset():
    for arguments in (["--preset", "v18", "--k", "3"], ["--k", "3", "--preset", "v18"]):
        config = configure(arguments)
        assert (config.retrieval.k, config.network.layers) == (3, 12)


def test_tables_survive_json_and_toml(tmp_path):
    config = configure(["--preset", "v18", "--panel", "x"])
    plain = to_tables(config)
    assert json.loads(json.dumps(plain)) == plain
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert configure(["--config", str(tmp_path / "config.toml")]) == config


def test_nothing_that_changes_the_result_is_free():
    """But for how long training goes on, and the memory that indexes may take."""
    may_change = {"epochs", "cache_mb"}
    for entry in entries(Config):
        if entry.table not in ("run", "data") and entry.item.name not in may_change:
            assert entry.item.metadata["resume"] == "same", entry.item.name
    assert set(preset_values(Config, "v18")).isdisjoint(
        entry.item.name for entry in entries(Config) if entry.table in ("run", "data")
    )
