"""Targets without phase, or of poor phase, from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import mosaic_haplotypes
from panel_files import convert_vcf, write_vcf
from snvrag.errors import InputError
from snvrag.imputation import imputer
from snvrag.imputation.imputation import impute_file
from snvrag.imputation.options import ImputeOptions
from snvrag.imputation.problem import Queries
from snvrag.io import htslib

NUM_SITES, NUM_SAMPLES = 400, 10
HAPLOTYPES = mosaic_haplotypes(220, NUM_SITES, switch_rate=0.005, seed=4)
PANEL, TRUTH = HAPLOTYPES[20:], HAPLOTYPES[:20].reshape(NUM_SAMPLES, 2, NUM_SITES)
TYPED = range(0, NUM_SITES, 3)
HIDDEN = np.arange(NUM_SITES) % 3 != 0
HETEROZYGOUS = (TRUTH[:, 0] != TRUTH[:, 1]) & ~HIDDEN
NAMES = [f"t{i}" for i in range(NUM_SAMPLES)]


class Imputed:
    """The records of a file, by site and sample."""

    def __init__(self, path: Path) -> None:
        lines = path.read_text().splitlines()
        self.rows = [line.split("\t") for line in lines if not line.startswith("#")]
        names = self.rows[0][8].split(":")
        cells = [[cell.split(":") for cell in row[9:]] for row in self.rows]
        self.columns = {
            name: [[c[k] for c in row] for row in cells] for k, name in enumerate(names)
        }
        self.site = (np.array([int(row[1]) for row in self.rows]) - 1000) // 37

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return (S, T, n), of DS, HDS or GP."""
        cells = [[cell.split(",") for cell in row] for row in self.columns[name]]
        return np.array(cells).astype(float)

    def r2(self) -> float:
        """Squared correlation of dosages and truth at the sites that are not typed."""
        dosage, truth = self.numbers("DS")[HIDDEN, :, 0], TRUTH.sum(axis=1).T[HIDDEN]
        return float(np.corrcoef(dosage.ravel(), truth.ravel())[0, 1] ** 2)

    def orders(self) -> list[tuple[NDArray[np.bool_], NDArray[np.str_]]]:
        """Return, for the typed heterozygotes of each sample, the order and the phase set.

        The order is True where the haplotypes are exchanged.
        """
        gt, sets = np.array(self.columns["GT"]), np.array(self.columns["PS"])
        result = []
        for i in range(gt.shape[1]):
            rows = np.flatnonzero(HETEROZYGOUS[i, self.site])
            true = [f"{a}|{b}" for a, b in TRUTH[i][:, self.site[rows]].T]
            assert all(set(cell) == {"0", "1", "|"} for cell in gt[rows, i])
            result.append((gt[rows, i] != true, sets[rows, i]))
        return result

    def switch_error(self) -> float:
        steps = np.concatenate([np.diff(order) for order, _ in self.orders()])
        return float(steps.mean())


def _cells(site: int, marks: Any, order: Any = None) -> list[str]:
    """Return genotypes with a separator a sample, and some (T, S) in the other order."""
    pairs = TRUTH[:, :, site]
    if order is not None:
        pairs = np.where(order[:, site, None], pairs[:, ::-1], pairs)
    return [f"{a}{mark}{b}" for (a, b), mark in zip(pairs, marks, strict=True)]


class Chips:
    """A panel and targets of the same samples in several forms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.panel = self.write("panel", range(NUM_SITES), lambda s: _panel_cells(s), None)
        self.model = folder / "m.model"

    def write(
        self, name: str, sites: Any, cells: Any, names: Any = NAMES, refs: str = "AG"
    ) -> Path:
        if names is None:
            names = [f"p{i}" for i in range(len(PANEL) // 2)]
        rows = [("1", 1000 + 37 * s, *refs, " ".join(cells(s))) for s in sites]
        return write_vcf(self.folder / f"{name}.vcf", rows, names)

    def impute(self, target: Path, **changes: Any) -> Imputed:
        path = self.folder / "out.vcf"
        given = {"panel": self.panel, "target": target, "output": path, **changes}
        if self.model.exists():
            given.setdefault("model", self.model)
        elif "phase_only" not in changes:
            given["save_model"] = self.model
        as_text = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
        impute_file(ImputeOptions(**{"overwrite": True, "threads": 1, "device": "cpu", **as_text}))
        return Imputed(path)


def _panel_cells(site: int) -> list[str]:
    return [f"{a}|{b}" for a, b in PANEL[:, site].reshape(-1, 2)]


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Chips:
    return Chips(tmp_path_factory.mktemp("chips"))


def _unphased(chips: Chips, order: Any = None) -> Path:
    name = "unphased" if order is None else "other"
    return chips.write(name, TYPED, lambda s: _cells(s, "/" * NUM_SAMPLES, order))


def _phased(chips: Chips, order: Any = None) -> Path:
    return chips.write("phased", TYPED, lambda s: _cells(s, "|" * NUM_SAMPLES, order))


def test_an_unphased_file(chips: Chips) -> None:
    phased, unphased = chips.impute(_phased(chips)), chips.impute(_unphased(chips))
    assert phased.rows[0][8] == "GT:DS:HDS:GP"
    assert unphased.rows[0][8] == "GT:DS:HDS:GP:PS"
    assert unphased.switch_error() < 0.06
    assert unphased.r2() > phased.r2() - 0.02
    # Typed genotypes stay, and the probabilities are of the haplotypes' dosages.
    for s, row in zip(unphased.site, unphased.columns["GT"], strict=True):
        if not HIDDEN[s]:
            assert [sorted(cell[::2]) for cell in row] == [
                sorted(cell[::2]) for cell in _cells(s, "/" * NUM_SAMPLES)
            ]
    gp, ds, hds = (unphased.numbers(name) for name in ("GP", "DS", "HDS"))
    assert np.abs(gp.sum(axis=2) - 1).max() < 1e-9
    assert np.abs(gp[..., 1] + 2 * gp[..., 2] - ds[..., 0]).max() < 1e-9
    assert np.abs(hds.sum(axis=2) - ds[..., 0]).max() < 1e-9
    assert (np.abs(gp[..., 2] - hds.prod(axis=2)) > 0.05).any()
    # Within a phase set the order is the true one, or the other, at nearly all heterozygotes.
    agree = heterozygotes = 0
    for i, (order, sets) in enumerate(unphased.orders()):
        assert (sets[0], "." in sets) == (
            str(1000 + 37 * np.flatnonzero(HETEROZYGOUS[i])[0]),
            False,
        )
        for name in np.unique(sets):
            chosen = order[sets == name]
            agree += max(chosen.sum(), (~chosen).sum())
            heterozygotes += chosen.size
        assert np.unique(sets).size < 0.6 * sets.size
    assert agree / heterozygotes >= 0.95


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_of_alleles_tells_nothing(chips: Chips, swapped: bool) -> None:
    """1/0 is 0/1; so is 0/1 where the target's REF is the panel's ALT."""
    expected = chips.impute(_unphased(chips))
    order = np.random.default_rng(0).random(HETEROZYGOUS.shape) < 0.5
    target = _unphased(chips, order)
    if swapped:
        other = {"0": "1", "1": "0", "/": "/"}

        def cells(s: int) -> list[str]:
            return ["".join(map(other.get, c)) for c in _cells(s, "/" * NUM_SAMPLES)]

        target = chips.write("swapped", TYPED, cells, refs="GA")
    got = chips.impute(target)
    assert got.columns == expected.columns


@pytest.mark.usefixtures("fixed_rates")
def test_samples_of_every_kind_beside_each_other(chips: Chips) -> None:
    """Each has what it has alone."""

    def cells(s: int) -> list[str]:
        kinds = _cells(s, "|//|/|/|//")
        a, b = kinds[3][::2], kinds[4][::2]
        kinds[3] = kinds[3][0]  # haploid
        if s % 5 == 0:
            kinds[0], kinds[1] = "./.", ".|."
            kinds[2], kinds[5] = f"{kinds[2][0]}/.", f".|{kinds[5][2]}"
        kinds[4] = f"{b[0]}{'|' if s % 2 else '/'}{b[1]}"  # partly phased
        kinds[6], kinds[7] = f"{a[0]}/{a[0]}", f"{b[1]}|{b[1]}"  # homozygous
        return kinds

    together = chips.impute(chips.write("kinds", TYPED, cells))
    for i in range(NUM_SAMPLES):
        alone = chips.impute(chips.write("alone", TYPED, lambda s, i=i: [cells(s)[i]], [NAMES[i]]))
        for name, column in alone.columns.items():
            assert [row[0] for row in column] == [row[i] for row in together.columns[name]]
    # Phased samples, the haploid and the homozygous ones keep their genotypes, and have no sets.
    for s, genotypes, sets in zip(
        together.site, together.columns["GT"], together.columns["PS"], strict=True
    ):
        for i in (3, 5, 6, 7):
            assert sets[i] == "."
            if not HIDDEN[s] and (s % 5 or i != 5):
                assert genotypes[i] == cells(s)[i].replace("/", "|")
    missing = [s for s in TYPED if s % 5 == 0]
    dosage = together.numbers("DS")[missing][:, [0, 1], 0]
    truth = TRUTH[:2].sum(axis=1).T[missing]
    assert np.abs(dosage - truth).mean() < 0.25


def test_phase_that_is_poor_is_not_worse_than_none(chips: Chips) -> None:
    """The typed alleles stay in the order of the file."""
    none = chips.impute(_unphased(chips)).r2()
    good = chips.impute(_phased(chips)).r2()
    for error in (0.05, 0.2, 0.5):
        switch = np.random.default_rng(1).random(HETEROZYGOUS.shape) < error
        order = np.cumsum(switch & HETEROZYGOUS, axis=1) % 2 == 1
        got = chips.impute(_phased(chips, order))
        assert none - 0.005 < got.r2() < good + 0.002
        for s in TYPED:
            assert got.columns["GT"][s] == _cells(s, "|" * NUM_SAMPLES, order)


def test_the_haploid_model_alone_is_worse_with_poor_phase(
    chips: Chips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test before this one can fail."""
    none = chips.impute(_unphased(chips)).r2()
    order = np.random.default_rng(1).random(HETEROZYGOUS.shape) < 0.5
    monkeypatch.setattr(imputer, "fit_rates", lambda _: None)
    assert chips.impute(_phased(chips, order)).r2() < none - 0.02


def test_threads_and_regions(chips: Chips) -> None:
    target = _unphased(chips)
    expected = chips.impute(target)
    assert chips.impute(target, threads=2).columns == expected.columns
    paths = {}
    for name, path in (("panel", chips.panel), ("target", target)):
        paths[name] = convert_vcf(path, path.with_suffix(".vcf.gz"), "wz")
        htslib.build_index(paths[name], 0)
    # Within less than the flanks, all is read.
    part = chips.impute(paths["target"], panel=paths["panel"], region="1:5000-9000")
    assert part.rows == [row for row in expected.rows if 5000 <= int(row[1]) <= 9000]


@pytest.mark.parametrize("file", ["unphased", "mixed"])
def test_phase_alone(chips: Chips, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed sites, with nothing predicted: what is missing stays so, and one allele stays one."""

    def cells(s: int) -> list[str]:
        kinds = _cells(s, "/" * NUM_SAMPLES if file == "unphased" else "|/" * (NUM_SAMPLES // 2))
        if file == "mixed":
            kinds[2] = kinds[2][0]
            if s % 5 == 0:
                kinds[0], kinds[1], kinds[5] = "./.", "./.", "./" + kinds[5][2]
        return kinds

    target = chips.write("t", TYPED, cells)
    full = chips.impute(target)
    monkeypatch.delattr(Queries, "evidence")
    phased = chips.impute(target, phase_only=True)
    assert phased.rows[0][8] == "GT:PS"
    assert phased.site.tolist() == list(TYPED)
    for k, s in enumerate(TYPED):
        assert phased.columns["PS"][k] == full.columns["PS"][s]
        for i, cell in enumerate(phased.columns["GT"][k]):
            if "." not in cell:
                assert cell == full.columns["GT"][s][i]
            if file == "mixed" and i in (0, 2):
                assert cell.replace("/", "|") == cells(s)[i].replace("/", "|")
            assert cell.count(".") == cells(s)[i].count(".")
    if file == "unphased":
        assert phased.switch_error() == full.switch_error()


def test_phase_alone_is_not_of_a_transformer(chips: Chips, tiny_model: Path) -> None:
    with pytest.raises(InputError, match="transformer, which does not phase") as raised:
        chips.impute(_unphased(chips), phase_only=True, model=tiny_model)
    assert raised.value.argument == "phase_only"
    with pytest.raises(InputError) as raised:
        chips.impute(_unphased(chips), phase_only=True, save_model=str(tiny_model) + ".new")
    assert raised.value.argument == "save_model"


@pytest.mark.parametrize("phase_only", [False, True])
def test_nothing_to_phase(chips: Chips, phase_only: bool) -> None:
    """No sample is heterozygous, one is not, or the one site that is typed is heterozygous."""
    marks = "/" * NUM_SAMPLES
    options = {"phase_only": True} if phase_only else {}

    def homozygous(s: int) -> list[str]:
        return [f"{cell[0]}/{cell[0]}" for cell in _cells(s, marks)]

    got = chips.impute(chips.write("t", TYPED, homozygous), **options)
    assert {cell for row in got.columns.get("PS", [["."]]) for cell in row} == {"."}
    got = chips.impute(
        chips.write("t", TYPED, lambda s: [*homozygous(s)[:4], *_cells(s, marks)[4:]]), **options
    )
    gt, sets = np.array(got.columns["GT"]), np.array(got.columns["PS"])
    assert (sets[:, :4] == ".").all()
    assert "." not in sets[:, 4:]
    rows = np.flatnonzero(~HIDDEN[got.site])
    assert [cell[0] == cell[2] for cell in gt[rows, 0]] == [True] * len(TYPED)
    site = int(np.flatnonzero(HETEROZYGOUS.sum(axis=0) > 1)[0])
    chips.model.unlink(missing_ok=True)
    got = chips.impute(chips.write("t", [site], lambda s: _cells(s, marks)), **options)
    chips.model.unlink(missing_ok=True)
    row = got.site.tolist().index(site)
    assert set(got.columns["PS"][row]) == {".", str(1000 + 37 * site)}


def test_heterozygotes_that_the_panel_does_not_have(chips: Chips) -> None:
    """Where it has one allele nothing is known of the phase: they are sets of their own."""
    fixed = np.flatnonzero(np.ptp(PANEL, axis=0) == 0)[:2].tolist()
    assert fixed
    sites = sorted({*TYPED, *fixed})

    def cells(s: int) -> list[str]:
        return ["1/0"] * NUM_SAMPLES if s in fixed else _cells(s, "/" * NUM_SAMPLES)

    chips.model.unlink(missing_ok=True)
    got = chips.impute(chips.write("t", sites, cells))
    for s in fixed:
        assert got.columns["GT"][s] == ["0|1"] * NUM_SAMPLES
        assert got.columns["PS"][s] == [str(1000 + 37 * s)] * NUM_SAMPLES


@pytest.mark.parametrize(
    ("cell", "message"),
    [("0", "haploid genotype at 1:2110"), ("0/1/1", "more than two alleles"), ("0/x", "damaged")],
)
def test_genotypes_that_are_wrong(chips: Chips, cell: str, message: str) -> None:
    """One line, of a sample with two ploidies, or of what is no genotype."""
    target = chips.write("t", TYPED, lambda s: _one_is(cell, s))
    (chips.folder / "out.vcf").unlink(missing_ok=True)
    with pytest.raises(InputError, match=message) as raised:
        chips.impute(target)
    assert raised.value.path == str(target)
    assert "\n" not in str(raised.value)
    assert not (chips.folder / "out.vcf").exists()


@pytest.mark.parametrize("cell", ["0/2", "3|1", "./2"])
def test_alleles_that_the_record_lacks(chips: Chips, cell: str) -> None:
    """The record is dropped, and its site imputed."""
    got = chips.impute(chips.write("t", TYPED, lambda s: _one_is(cell, s)))
    typed = ["TYPED" in row[7] for row in got.rows]
    assert got.site[typed].tolist() == [s for s in TYPED if s != 30]


def _one_is(cell: str, site: int) -> list[str]:
    return [cell if site == 30 else "0/1", *_cells(site, "/" * NUM_SAMPLES)[1:]]
