"""Options from a TOML file, with the command line on top."""

from __future__ import annotations

import pytest

from snvrag.errors import InputError
from snvrag.training.options import Config, parse_arguments


@pytest.fixture
def given(tmp_path):
    """Return the function that parses a file's text and further options."""
    path = tmp_path / "run.toml"

    def parse(text, *arguments):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return parse_arguments(["--config", str(path), *arguments])

    return parse


def test_flat_and_in_tables(given):
    expected = Config(
        window_size=64, learning_rate=0.5, neighbour_prior=False, panel="a b.vcf", epochs=2
    )
    flat = "window-size = 64\nlearning_rate = 0.5\nneighbour_prior = false\npanel = 'a b.vcf'\nepochs = 2\n"
    assert given(flat) == expected
    tables = (
        "epochs = 2\n[windows]\nwindow_size = 64\n[data]\npanel = 'a b.vcf'\n"
        "[network]\nneighbour_prior = false\n[training]\nlearning-rate = 0.5\n"
    )
    assert given(tables) == expected
    assert given("") == Config()


def test_types(given):
    config = given("mask-rates = [0, 0.5]\ncache_mb = 3\nresume = 'auto'\n")
    assert config.mask_rates == (0.0, 0.5)
    assert type(config.cache_mb) is float
    assert config.resume == "auto"


def test_the_command_line_comes_on_top(given):
    config = given(
        "k = 3\nepochs = 5\nneighbour_prior = false", "--k", "4", "--neighbour-prior", "yes"
    )
    assert (config.k, config.epochs, config.neighbour_prior) == (4, 5, True)


def test_presets_lie_below(given):
    assert given("preset = 'v18'") == parse_arguments(["--preset", "v18"])
    config = given("preset = 'v18'\nlayers = 3")
    assert (config.layers, config.width) == (3, 384)
    config = given("preset = 'v18'\nlayers = 3", "--preset", "small")
    assert (config.layers, config.width) == (3, Config().width)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("windowsize = 3", ["windowsize"]),
        ("windows_size = 3", ["windows_size"]),
        ("[network]\nlearning_rate = 1.0", ["learning_rate", "[network]", "belongs in [training]"]),
        ("[net]\nwidth = 3", ["[net]", "[network]"]),
        ("[training]\npreset = 'v18'", ["preset"]),
        ("config = 'other.toml'", ["config"]),
        ("k = 3.0", ["k must be an integer", "3.0"]),
        ("k = true", ["k must be an integer"]),
        ("neighbour_prior = 1", ["neighbour_prior must be true or false"]),
        ("learning_rate = 'fast'", ["learning_rate must be a number"]),
        ("panel = 3", ["panel must be a string"]),
        ("mask_rates = 0.5", ["mask_rates must be a list"]),
        ("mask_rates = ['a']", ["mask_rates must be a number"]),
        ("panel = {a = 1}", ["[panel]"]),
        ("preset = 'huge'", ["preset must be one of small, v18", "huge"]),
        ("k = 3\n[retrieval]\nk = 4", ["k is set twice"]),
        ("batch-size = 3\nbatch_size = 3", ["batch_size is set twice"]),
        ("k = ", ["not a TOML file"]),
        (b"k = '\xff'", ["not a TOML file"]),
    ],
)
def test_what_is_wrong_is_named(given, text, words):
    with pytest.raises(InputError) as refused:
        given(text)
    line = str(refused.value)
    assert "\n" not in line
    assert "--config" in line
    assert "run.toml" in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("text", ["shuffle = 'sorted'", "weighting = 'best'"])
def test_choices_hold_here_too(given, text):
    with pytest.raises(InputError, match="must be one of"):
        given(text)


def test_no_such_file(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match=f"--config {path}: cannot be read"):
            parse_arguments(["--config", str(path)])


@pytest.mark.parametrize("preset", ["small", "v18"])
def test_what_is_written_is_read_again(given, preset):
    odd = 'tab\t, "quotes", back\\slash, \x7f, é, 🧬, \n'
    config = parse_arguments(
        ["--preset", preset, "--panel", odd, "--mask-rates", "0.1", "1e-5", "--amp", "no"]
    )
    assert given(config.to_toml()) == config


def test_what_belongs_to_one_start_is_not_written(given):
    config = parse_arguments(
        ["--resume", "x", "--resume-epoch", "3", "--overwrite", "yes", "--k", "3", "--dry-run"]
    )
    assert given(config.to_toml()) == Config(k=3)
