"""From files to the reference panel, training and validation targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snvrag import _core
from snvrag.errors import InputError
from snvrag.prepare import prepare
from snvrag.training.options import Config, parse_arguments
from snvrag.training.run_data import fingerprint, held_out, load_run_data

HELD = np.array([0, 6, 12, 18])
KEPT = np.setdiff1d(np.arange(24), HELD)


def unpacked(panel) -> np.ndarray:
    return _core.unpack_rows(panel.site_bits, panel.num_haplotypes).T


def rows(samples) -> np.ndarray:
    return np.ravel([[2 * i, 2 * i + 1] for i in samples])


@pytest.fixture
def load(tiny_vcf):
    def run(*arguments):
        fraction = [] if "--val-samples" in arguments else ["--val-fraction", str(1 / 6)]
        return load_run_data(parse_arguments(["--panel", str(tiny_vcf), *fraction, *arguments]))

    return run


# --- who is held out ------------------------------------------------------------------------------


def test_every_fifth():
    assert held_out(300, 0.2).tolist() == list(range(0, 300, 5))
    assert held_out(10, 0.1).tolist() == [0]
    assert held_out(20, 0.1).tolist() == [0, 10]
    assert held_out(7, 0.5).tolist() == [0, 2, 4, 6]
    assert held_out(1, 0.1).tolist() == [0]


@given(st.integers(1, 400), st.floats(0.001, 0.999))
def test_held_out_are_evenly_spread(num_samples, fraction):
    chosen = held_out(num_samples, fraction)
    assert chosen[0] == 0
    assert chosen[-1] < num_samples
    assert abs(chosen.size - num_samples * fraction) <= 1
    if chosen.size > 2:
        assert np.ptp(np.diff(chosen)) <= 1


def test_validation_samples_leave_the_panel_first(load, tiny_alleles):
    sources = load()
    assert sources.panel.samples == tuple(f"s{i}" for i in KEPT)
    assert sources.validation.haplotypes.samples == tuple(f"s{i}" for i in HELD)
    reference = tiny_alleles[rows(KEPT)]
    np.testing.assert_array_equal(sources.panel.af, reference.mean(0))
    np.testing.assert_array_equal(unpacked(sources.panel), reference)
    np.testing.assert_array_equal(unpacked(sources.validation.haplotypes), tiny_alleles[rows(HELD)])
    assert sources.validation.panel_sample.tolist() == [-1] * 4
    assert sources.validation.present.all()
    assert sources.train.haplotypes is sources.panel
    assert sources.train.panel_sample.tolist() == list(range(20))


def test_monomorphic_sites_of_the_reference_are_dropped(
    tmp_path, make_panel, write_panel_vcf, tiny_alleles
):
    """Also those with ALT in held-out samples alone, which nothing could predict."""
    alleles = tiny_alleles.copy()
    alleles[:, 10], alleles[:, 20], alleles[rows(KEPT), 30] = 0, 1, 0
    alleles[0, 30] = 1
    path = write_panel_vcf(tmp_path / "p.vcf", make_panel(alleles), alleles)
    sources = load_run_data(Config(panel=str(path), val_fraction=1 / 6))
    kept = np.setdiff1d(np.arange(200), [10, 20, 30])
    np.testing.assert_array_equal(sources.panel.position, 1000 + 37 * kept)
    np.testing.assert_array_equal(
        unpacked(sources.validation.haplotypes), alleles[np.ix_(rows(HELD), kept)]
    )
    assert any("197 sites (3 monomorphic dropped)" in line for line in sources.report)


def test_named_validation_samples(load, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("s5\n\n  s2 \ns5\n")
    sources = load("--val-samples", str(names))
    assert sources.validation.haplotypes.samples == ("s5", "s2")
    assert sources.panel.num_samples == 22
    assert {"s2", "s5"}.isdisjoint(sources.panel.samples)


def test_report_tells_what_was_read(load, tiny_vcf):
    report = load().report
    assert f"{tiny_vcf}: 200 records, 200 kept" in report[0]
    assert "20 samples, 40 haplotypes, 200 sites" in report[1]
    assert "validation: 4 samples" in report[2]
    assert "the panel's own 20 samples" in report[3]


def test_demo_panel_ships_with_its_populations():
    sources = load_run_data(Config())
    assert sources.panel.num_haplotypes + sources.validation.haplotypes.num_haplotypes == 400
    assert sources.panel.num_sites > 2000
    assert len(sources.panel.populations) > 1


# --- populations ----------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    def write(name_of, num=24, column="population"):
        path = tmp_path / "samples.tsv"
        lines = [f"s{i}\t{name_of(i)}" for i in reversed(range(num))]
        path.write_text(f"sample\t{column}\n" + "\n".join([*lines, "other\tx"]) + "\n")
        return str(path)

    return write


def test_populations(load, table, tiny_alleles):
    sources = load("--populations", table(lambda i: "abc"[i % 3]))
    panel = sources.panel
    assert panel.populations == ("a", "b", "c")
    names = [panel.populations[i] for i in panel.sample_population]
    assert names == ["abc"[i % 3] for i in KEPT]
    assert [panel.populations[i] for i in sources.validation.population] == ["a"] * 4
    own = tiny_alleles[rows([i for i in KEPT if i % 3 == 1])]
    np.testing.assert_allclose(panel.population_af[1], own.mean(0), atol=1e-6)


def test_population_column(load, table):
    sources = load("--populations", table(lambda i: "xy"[i % 2], column="super"),
                   "--population-column", "super")  # fmt: skip
    assert sources.panel.populations == ("x", "y")


def test_a_population_that_is_all_held_out(load, table):
    with pytest.raises(InputError, match="population z"):
        load("--populations", table(lambda i: "z" if i in HELD else "a"))


def test_a_sample_without_population(load, table):
    with pytest.raises(InputError, match="no line for sample s23"):
        load("--populations", table(lambda _: "a", num=23))


# --- training samples of another file -------------------------------------------------------------


@pytest.fixture
def train_file(tmp_path, write_vcf):
    """A file of two strangers, a panel's sample and a held-out one, with sites of its own."""

    def write(records):
        return str(write_vcf(tmp_path / "train.vcf", records, ["x", "s7", "s6", "y"]))

    return write


def site(index: int) -> int:
    return 1000 + 37 * index


def test_training_file_is_aligned_by_position_and_alleles(load, train_file):
    path = train_file(
        [
            ("1", 5, "A", "G", "0|1 0|1 0|1 0|1"),  # not in the panel
            ("1", site(3), "A", "C", "1|1 1|1 1|1 1|1"),  # another ALT there
            ("1", site(3), "A", "G", "0|1 1|0 1|1 0|0"),
            ("1", site(4), "G", "A", "1|1 1|1 1|1 1|1"),  # REF and ALT the other way round
            ("1", site(199), "A", "G", "1|0 0|0 1|1 0|1"),
        ]
    )
    sources = load("--train", path)
    train = sources.train
    assert train.haplotypes.samples == ("x", "s7", "y")
    assert np.flatnonzero(train.present).tolist() == [3, 199]
    assert unpacked(train.haplotypes)[:, 3].tolist() == [0, 1, 1, 0, 0, 0]
    assert unpacked(train.haplotypes)[:, 199].tolist() == [1, 0, 0, 0, 0, 1]
    assert not unpacked(train.haplotypes)[:, ~train.present].any()
    assert train.panel_sample.tolist() == [-1, sources.panel.samples.index("s7"), -1]
    assert train.haplotypes.num_sites == sources.panel.num_sites
    text = "\n".join(sources.report)
    assert "1 samples left out, held for validation" in text
    assert "2 of the panel's 200 sites, 3 sites not in the panel dropped" in text


def test_training_file_without_common_sites(load, train_file):
    with pytest.raises(InputError, match="no site in common"):
        load("--train", train_file([("1", 5, "A", "G", "0|1 0|1 0|1 0|1")]))


def test_training_file_of_another_chromosome(load, train_file):
    with pytest.raises(InputError, match="chromosome 2, the panel has 1"):
        load("--train", train_file([("2", site(3), "A", "G", "0|1 0|1 0|1 0|1")]))


def test_training_file_of_held_out_samples_alone(load, tmp_path, write_vcf):
    path = write_vcf(tmp_path / "t.vcf", [("1", site(3), "A", "G", "0|1 0|1")], ["s0", "s6"])
    with pytest.raises(InputError, match="held out for validation"):
        load("--train", str(path))


def test_populations_of_a_training_file(load, tmp_path, train_file, table):
    path = train_file([("1", site(3), "A", "G", "0|1 0|1 0|1 0|1")])
    names = table(lambda i: "ab"[i % 2])
    with pytest.raises(InputError, match="no line for sample x"):
        load("--train", path, "--populations", names)
    with open(names, "a") as lines:
        lines.write("x\tb\ny\tb\n")
    sources = load("--train", path, "--populations", names)
    assert sources.train.population.tolist() == [1, 1, 1]
    with open(names) as lines:
        text = lines.read().replace("y\tb", "y\tnowhere")
    (tmp_path / "samples.tsv").write_text(text)
    with pytest.raises(InputError, match="population nowhere"):
        load("--train", path, "--populations", names)


# --- what identifies the data of a run ------------------------------------------------------------


def test_fingerprint_of_a_run(load, train_file, table):
    records = [
        ("1", site(3), "A", "G", "0|1 1|0 1|1 0|0"),
        ("1", site(9), "A", "G", "0|0 0|0 1|1 0|0"),
    ]
    runs = [
        load(),
        load("--val-fraction", "0.25"),
        load("--populations", table(lambda i: "ab"[i % 2])),
        load("--train", train_file(records[:1])),
    ]
    # The second site is REF in all that train: only that the file has it tells the two apart.
    runs.append(load("--train", train_file(records)))
    assert len({fingerprint(run) for run in runs}) == len(runs)
    assert fingerprint(load()) == fingerprint(runs[0])


def test_fingerprint_is_of_the_genetic_map_too(tiny_arguments, tmp_path):
    """Its path may change, its content may not."""
    texts = {"one": "1 a 0.0 1\n1 b 1.0 9000\n", "two": "1 a 0.0 1\n1 b 2.0 9000\n"}
    prints = {}
    for name, text in (*texts.items(), ("again", texts["one"])):
        path = tmp_path / name
        path.write_text(text)
        config = parse_arguments([*tiny_arguments, "--genetic-map", str(path)])
        prints[name] = fingerprint(load_run_data(config))
    prints["none"] = fingerprint(load_run_data(parse_arguments(tiny_arguments)))
    assert prints["one"] == prints["again"]
    assert len(set(prints.values())) == 3


def test_a_prepared_panel_is_the_same_run(load, tiny_vcf, tmp_path):
    prepared = str(tmp_path / "panel.safetensors")
    prepare(str(tiny_vcf), prepared)
    again = load("--panel", prepared)
    assert fingerprint(again) == fingerprint(load())
    data = bytearray(Path(prepared).read_bytes())
    data[len(data) // 2] ^= 1
    Path(prepared).write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        load("--panel", prepared)


def test_haploid_samples_are_trained_and_validated_on(tmp_path, write_vcf):
    """Every third sample is a male on chromosome X; the first one is held out."""
    random = np.random.default_rng(4)
    records = []
    for s in range(30):
        calls = [
            "1" if i % 3 == 0 and random.random() < 0.5 else "0" if i % 3 == 0 else "0|1"
            for i in range(12)
        ]
        records.append(("1", 10 + s, "A", "C", " ".join(calls)))
    path = write_vcf(tmp_path / "x.vcf", records, [f"s{i}" for i in range(12)])
    arguments = ["--panel", str(path), "--val-fraction", "0.25", "--k", "2"]
    sources = load_run_data(parse_arguments(arguments))
    assert sources.validation.haplotypes.num_samples + sources.panel.num_samples == 12
    assert sources.panel.num_haplotypes == int(sources.panel.sample_ploidy.sum()) < 18
