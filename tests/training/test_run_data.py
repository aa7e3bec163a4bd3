"""From files to the reference panel, training and validation targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import unpack
from panel_files import convert_vcf, make_panel, write_panel_vcf, write_vcf
from snvrag.errors import InputError
from snvrag.io import htslib
from snvrag.training.run_data import held_out, load_run_data
from training_runs import configure

HELD = np.array([0, 6, 12, 18])
KEPT = np.setdiff1d(np.arange(24), HELD)


def alleles_of(panel) -> np.ndarray:
    return unpack(panel.site_bits, panel.num_haplotypes).T


def haplotypes(samples) -> np.ndarray:
    return np.ravel([[2 * i, 2 * i + 1] for i in samples])


@pytest.fixture
def load(tiny_vcf):
    def run(*arguments, panel=tiny_vcf):
        fraction = [] if "--val-samples" in arguments else ["--val-fraction", str(1 / 6)]
        return load_run_data(configure(["--panel", str(panel), *fraction, *map(str, arguments)]))

    return run


# --- who is held out ------------------------------------------------------------------------------


def test_every_fifth():
    assert held_out(300, 0.2).tolist() == list(range(0, 300, 5))
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


def test_validation_samples_leave_the_panel_first(load, tiny_vcf, tiny_alleles):
    data = load()
    assert data.panel.samples == tuple(f"s{i}" for i in KEPT)
    assert data.validation.haplotypes.samples == tuple(f"s{i}" for i in HELD)
    reference = tiny_alleles[haplotypes(KEPT)]
    np.testing.assert_array_equal(data.panel.af, reference.mean(0))
    np.testing.assert_array_equal(alleles_of(data.panel), reference)
    validation = alleles_of(data.validation.haplotypes)
    np.testing.assert_array_equal(validation, tiny_alleles[haplotypes(HELD)])
    assert data.validation.panel_sample.tolist() == [-1] * 4
    assert data.validation.present.all()
    assert data.train.haplotypes is data.panel
    assert data.train.panel_sample.tolist() == list(range(20))
    expected = [
        *(f"{tiny_vcf}: 200 records, 200 kept", "20 samples, 40 haplotypes, 200 sites"),
        *("validation: 4 samples", "the panel's own 20 samples"),
    ]
    assert all(words in line for line, words in zip(data.report, expected, strict=True))


def test_monomorphic_sites_of_the_reference_are_dropped(load, tmp_path, tiny_alleles):
    """Also those with ALT in held-out samples alone, which nothing could predict."""
    alleles = tiny_alleles.copy()
    alleles[:, 10], alleles[:, 20], alleles[haplotypes(KEPT), 30] = 0, 1, 0
    alleles[0, 30] = 1
    data = load(panel=write_panel_vcf(tmp_path / "p.vcf", make_panel(alleles), alleles))
    kept = np.setdiff1d(np.arange(200), [10, 20, 30])
    np.testing.assert_array_equal(data.panel.position, 1000 + 37 * kept)
    validation = alleles_of(data.validation.haplotypes)
    np.testing.assert_array_equal(validation, alleles[np.ix_(haplotypes(HELD), kept)])
    assert any("197 sites (3 monomorphic dropped)" in line for line in data.report)


def test_named_validation_samples(load, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("s5\n\n  s2 \ns5\n")
    data = load("--val-samples", names)
    assert data.validation.haplotypes.samples == ("s5", "s2")
    assert data.panel.num_samples == 22
    assert {"s2", "s5"}.isdisjoint(data.panel.samples)


def test_demo_panel_ships_with_its_populations():
    data = load_run_data(configure([]))
    assert data.panel.num_haplotypes + data.validation.haplotypes.num_haplotypes == 400
    assert data.panel.num_sites > 2000
    assert len(data.panel.populations) > 1


# --- populations ----------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    def write(name_of, *more, num=24, column="population"):
        path = tmp_path / "samples.tsv"
        lines = [f"s{i}\t{name_of(i)}" for i in reversed(range(num))]
        path.write_text(f"sample\t{column}\n" + "\n".join([*lines, "other\tx", *more]) + "\n")
        return path

    return write


def test_populations(load, table, tiny_alleles):
    data = load("--populations", table(lambda i: "abc"[i % 3]))
    panel = data.panel
    assert panel.populations == ("a", "b", "c")
    names = [panel.populations[i] for i in panel.sample_population]
    assert names == ["abc"[i % 3] for i in KEPT]
    assert [panel.populations[i] for i in data.validation.population] == ["a"] * 4
    own = tiny_alleles[haplotypes([i for i in KEPT if i % 3 == 1])]
    np.testing.assert_allclose(panel.population_af[1], own.mean(0), atol=1e-6)
    path = table(lambda i: "xy"[i % 2], column="super")
    data = load("--populations", path, "--population-column", "super")
    assert data.panel.populations == ("x", "y")


def test_populations_that_are_refused(load, table):
    """One that is all held out; a sample without one."""
    with pytest.raises(InputError, match="population z has no sample in the reference panel"):
        load("--populations", table(lambda i: "z" if i in HELD else "a"))
    with pytest.raises(InputError, match=r"no line for sample s23 \(1 of 24"):
        load("--populations", table(lambda _: "a", num=23))


# --- training samples of another file -------------------------------------------------------------


@pytest.fixture
def train_file(tmp_path):
    """A file of two strangers, a panel's sample and a held-out one, with sites of its own."""

    def write(*records, samples=("x", "s7", "s6", "y")):
        return write_vcf(tmp_path / "train.vcf", list(records), samples)

    return write


def site(index: int) -> int:
    return 1000 + 37 * index


def test_training_file_is_aligned_as_a_target_of_impute(load, train_file):
    path = train_file(
        ("chr1", 5, "A", "G", "0|1 0|1 0|1 0|1"),  # not in the panel
        ("chr1", site(3), "A", "C", "1|1 1|1 1|1 1|1"),  # another ALT there
        ("chr1", site(3), "A", "G", "0|1 1|0 1|1 0|0"),
        ("chr1", site(4), "G", "A", "1|1 0|1 1|1 1|0"),  # REF and ALT the other way round
        ("chr1", site(5), "T", "C", "1|1 0|1 1|1 1|0"),  # on the other strand
        ("chr1", site(199), "G", "A", "1|1 1|1 1|1 1|1"),  # once more, swapped
        ("chr1", site(199), "A", "G", "1|0 0|0 1|1 0|1"),
    )
    data = load("--train", path)
    train = data.train
    assert train.haplotypes.samples == ("x", "s7", "y")
    assert np.flatnonzero(train.present).tolist() == [3, 4, 199]
    alleles = alleles_of(train.haplotypes)
    assert alleles[:, 3].tolist() == [0, 1, 1, 0, 0, 0]
    assert alleles[:, 4].tolist() == [0, 0, 1, 0, 0, 1]
    assert alleles[:, 199].tolist() == [1, 0, 0, 0, 0, 1]
    assert not alleles[:, ~train.present].any()
    assert train.panel_sample.tolist() == [-1, data.panel.samples.index("s7"), -1]
    assert train.haplotypes.num_sites == data.panel.num_sites
    assert train.haplotypes.chrom == data.panel.chrom
    at = data.report.index(f"Note: chromosome chr1 of {path} is 1 of the panel")
    assert data.report[at - 1] == f"{path}: 7 records, 7 kept"
    assert data.report[at + 1 :] == (
        "training: 3 samples, 1 left out that are held for validation",
        "Sites of the training file, and sites of the panel:",
        "    2  matched",
        "    1  matched with REF and ALT swapped (flipped)",
        "    1  position not in the panel",
        "    1  other alleles than the panel's",
        "    1  on the other strand (complementary alleles)",
        "    1  duplicate of another site",
        "    3  sites of the panel: typed",
        "  197  sites of the panel: not typed",
    )


def test_ambiguous_sites_of_a_training_file_are_dropped(load, train_file, tmp_path):
    """By its name, not as one that the panel lacks. In its own order of alleles it is kept."""
    genotypes = " ".join(["0|1"] * 24)
    records = [("1", 10, "A", "T", genotypes), ("1", 20, "C", "G", genotypes)]
    panel = write_vcf(tmp_path / "panel.vcf", records, [f"s{i}" for i in range(24)])
    path = train_file(("1", 10, "T", "A", "0|1 0|1 0|1 0|1"), ("1", 20, "C", "G", "0|1 " * 4))
    data = load("--train", path, panel=panel)
    assert data.train.present.tolist() == [False, True]
    name = "strand-ambiguous (A/T or C/G) with REF and ALT swapped"
    assert f"  1  {name}" in data.report


def test_a_training_file_of_several_chromosomes_is_read_at_the_panels(load, train_file, tmp_path):
    """Where it has an index, as a target of impute is."""
    sites = [("1", site(3), "A", "G", "0|1 0|1 0|1 0|1"), ("2", 5, "A", "G", "0|1 0|1 0|1 0|1")]
    path = convert_vcf(train_file(*sites), tmp_path / "train.bcf", "wb")
    htslib.build_index(path, 14)
    assert np.flatnonzero(load("--train", path).train.present).tolist() == [3]


def test_training_file_refused(load, train_file):
    for chrom, position, samples, words in (
        ("1", 5, ("x", "y"), "no site in common"),
        ("2", site(3), ("x", "y"), "must have the panel's chromosome 1, got 2"),
        ("1", site(3), ("s0", "s6"), "held out for validation"),
    ):
        path = train_file((chrom, position, "A", "G", "0|1 0|1"), samples=samples)
        with pytest.raises(InputError, match=words) as refused:
            load("--train", path)
        assert refused.value.argument == "train"


def test_populations_of_a_training_file(load, train_file, table):
    path = train_file(("1", site(3), "A", "G", "0|1 0|1 0|1 0|1"))

    def with_rows(*rows):
        return load("--train", path, "--populations", table(lambda i: "ab"[i % 2], *rows))

    with pytest.raises(InputError, match="no line for sample x"):
        with_rows()
    with pytest.raises(InputError, match="population nowhere"):
        with_rows("x\tb", "y\tnowhere")
    assert with_rows("x\tb", "y\tb").train.population.tolist() == [1, 1, 1]


# --- what identifies the data of a run ------------------------------------------------------------


def test_fingerprints_tell_which_input_differs(load, train_file, table, tmp_path, tiny_alleles):
    names, maps = tmp_path / "names", [tmp_path / "map0", tmp_path / "map1"]
    names.write_text("s1\ns7\n")
    for path, cm in zip(maps, ("1.0", "2.0"), strict=True):
        path.write_text(f"1 a 0.0 1\n1 b {cm} 9000\n")
    alleles = tiny_alleles.copy()
    alleles[30, 100] ^= 1
    panel = write_panel_vcf(tmp_path / "other.vcf", make_panel(alleles), alleles)
    record = ("1", site(3), "A", "G", "0|1 1|0 1|1 0|0")
    # A site that is REF in all: only that the file has it differs.
    more = ("1", site(9), "A", "G", "0|0 0|0 1|1 0|0")
    plain = load().fingerprints
    one, two = (load("--train", train_file(*records)) for records in ([record], [record, more]))
    mapped = [load("--genetic-map", path).fingerprints for path in maps]
    populated = load("--populations", table(lambda i: "ab"[i % 2])).fingerprints

    def differing(a, b):
        return [name for name in {**a, **b} if a.get(name) != b.get(name)]

    assert differing(plain, load().fingerprints) == []
    assert differing(plain, load(panel=panel).fingerprints) == ["panel"]
    assert differing(plain, load("--val-samples", names).fingerprints) == ["validation samples"]
    assert "training samples" in differing(plain, one.fingerprints)
    assert differing(one.fingerprints, two.fingerprints) == ["training samples"]
    assert differing(plain, mapped[0]) == differing(*mapped) == ["genetic map"]
    assert differing(plain, populated) == ["populations"]


def test_haploid_samples_are_trained_and_validated_on(tmp_path):
    """Every third sample is a male on chromosome X; the first one is held out."""
    random = np.random.default_rng(4)
    records = [
        (
            "1",
            10 + s,
            "A",
            "C",
            " ".join("0|1" if i % 3 else random.choice(["0", "1"]) for i in range(12)),
        )
        for s in range(30)
    ]
    path = write_vcf(tmp_path / "x.vcf", records, [f"s{i}" for i in range(12)])
    arguments = ["--panel", str(path), "--val-fraction", "0.25", "--k", "2"]
    data = load_run_data(configure(arguments))
    assert data.validation.haplotypes.num_samples + data.panel.num_samples == 12
    assert data.panel.num_haplotypes == int(data.panel.sample_ploidy.sum()) < 18
