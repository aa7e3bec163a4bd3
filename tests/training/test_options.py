"""One dataclass is the command line: defaults, presets, checks and help."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from snvrag.errors import InputError
from snvrag.training.options import FREE_FIELDS, PRESETS, Config, build_parser, parse_arguments

OPTIONS = [field.name for field in fields(Config)]


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_no_argument_gives_the_defaults():
    assert parse_arguments([]) == Config()
    assert parse_arguments(["--preset", "small"]) == Config()


def test_contracts_defaults():
    """Contract 4.1 and the issue's command line."""
    config = Config()
    assert config.mask_rates == (0.30, 0.40, 0.50, 0.60, 0.70, 0.80)
    assert (config.epochs_per_rate, config.val_rate) == (2, 0.5)
    assert (config.rare_rate, config.rare_threshold) == (0.7, 0.05)
    assert config.mask_generator == "philox"
    assert (config.val_fraction, config.patience, config.min_gain) == (0.1, 5, 0.001)


def test_v18s_sizes():
    """DESIGN, section 7."""
    config = parse_arguments(["--preset", "v18"])
    expected = {
        "window_size": 1020, "k": 1, "segment_size": 0, "width": 384, "layers": 12, "heads": 12,
        "span": 0, "dropout": 0.1, "weighting": "rank", "neighbour_prior": False, "epochs": 20,
        "li_stephens": False,
        "accumulation": 2, "learning_rate": 7.5e-5, "warmup_steps": 15_000, "clip": 1.0,
        "focal_gamma": 2.0, "patience": 5, "min_gain": 0.001,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected


def test_options_come_on_top_of_a_preset():
    for arguments in (["--preset", "v18", "--k", "3"], ["--k", "3", "--preset", "v18"]):
        config = parse_arguments(arguments)
        assert (config.k, config.layers) == (3, 12)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_field_is_an_option(name):
    default = getattr(Config(), name)
    field = next(field for field in fields(Config) if field.name == name)
    choices = [c for c in field.metadata["choices"] if c != default]
    given: object = {bool: lambda: not default, int: lambda: 4, float: lambda: 0.25,
                     tuple: lambda: (0.1, 0.9), str: lambda: choices[0] if choices else "text",
                     }[type(default)]()  # fmt: skip
    texts = {True: ["yes"], False: ["no"]}.get(given) if isinstance(given, bool) else None
    texts = texts or [str(item) for item in (given if isinstance(given, tuple) else [given])]
    extra = ["--resume", "x"] if name == "resume_epoch" else []
    extra = ["--width", "64"] if name == "heads" else extra
    assert getattr(parse_arguments([*extra, option(name), *texts]), name) == given


def test_help_lists_every_option_with_its_default():
    text = " ".join(build_parser().format_help().split())
    for name in OPTIONS:
        default = getattr(Config(), name)
        shown = ("yes" if default else "no") if isinstance(default, bool) else str(default)
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else shown or "none"
        value = r"(?:[A-Z]+|\[?yes\|no\]?|\{[a-z0-9,]+\}|X \[X \.\.\.\])"
        entry = re.search(rf" {option(name)} {value} (.{{8,}}?) \(default: ([^)]*)\)", text)
        assert entry, name
        assert entry[2] == shown, name
    groups = ["Data:", "Windows and masks:", "Retrieval:", "Network:", "Training:",
              "Running and resuming:"]  # fmt: skip
    assert [group for group in groups if group in text] == groups
    assert "--preset {small,v18}" in text
    assert "--config FILE" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], "--bogus"),
        (["--wind", "64"], "--wind"),
        (["--k", "many"], "--k"),
        (["--neighbour-prior", "maybe"], "yes or no"),
        (["--preset", "huge"], "--preset"),
        (["--weighting", "best"], "--weighting"),
        (["stray"], "stray"),
    ],
)
def test_wrong_command_lines_are_one_line(capsys, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "0") for name in ("window_size", "epochs_per_rate", "k", "width", "layers",
                                   "heads", "epochs", "batch_size", "accumulation", "log_every",
                                   "learning_rate", "clip", "cache_mb", "decay_sites",
                                   "val_fraction")),
        *((name, "-1") for name in ("flank", "segment_size", "segment_flank", "span",
                                    "warmup_steps", "patience", "workers", "threads", "seed",
                                    "focal_gamma", "keep", "save_every_minutes", "val_rate",
                                    "rare_rate", "rare_threshold", "mask_rates", "dropout")),
        *((name, "1.5") for name in ("val_rate", "rare_rate", "rare_threshold", "mask_rates",
                                     "val_fraction", "dropout")),
        *((name, "nan") for name in ("val_rate", "mask_rates", "learning_rate", "clip", "min_gain",
                                     "focal_gamma", "dropout")),
        ("cache_mb", "inf"),
        ("val_fraction", "1"),
        ("dropout", "1"),
        ("heads", "5"),
        ("resume_epoch", "1"),
        ("seed", str(2**64)),
        ("threads", "100000"),
        *(("mismatch", value) for value in ("-0.1", "0.51", "nan")),
        *(("ne", value) for value in ("0", "inf", "nan")),
        ("li_stephens_flank", "-2"),
    ],
)  # fmt: skip
def test_numbers_out_of_range(name, value):
    with pytest.raises(InputError, match=option(name)) as refused:
        parse_arguments(["--width", "64", option(name), value])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_plain_values_survive_json(preset):
    plain = parse_arguments(["--preset", preset]).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == OPTIONS


def test_presets_and_free_fields_name_fields():
    assert set(OPTIONS) >= FREE_FIELDS
    for preset in PRESETS.values():
        assert set(preset) <= set(OPTIONS)


def test_nothing_that_changes_the_result_is_free():
    """What a checkpoint must agree in: all of the windows', retrieval's and network's options."""
    groups = {field.name: field.metadata["group"] for field in fields(Config)}
    free_to_change = {"cache_mb", "epochs"}  # a budget, and how many more
    for name in FREE_FIELDS - free_to_change:
        assert groups[name] in ("run", "data"), name
    assert "seed" not in FREE_FIELDS
    assert "region" not in FREE_FIELDS
