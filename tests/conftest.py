"""Fixtures and settings of all tests; functions that tests share are in helpers.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

import helpers
from snvrag import _core

settings.register_profile(
    "snvrag",
    derandomize=True,
    deadline=None,
    max_examples=30,
    # The fixture `simd_level` holds for all examples of a test, and is meant to.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("snvrag")


@pytest.fixture(params=_core.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every instruction set of this machine."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    assert _core.simd_level() == request.param
    yield request.param
    _core.set_simd_level(before)


@pytest.fixture(scope="session")
def known_answers() -> Path:
    """Return the folder of known answers."""
    return Path(__file__).resolve().parent / "kat"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real haplotypes, which is not part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SNVRAG_SHARED_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; SNVRAG_SHARED_DATA names another")
    return folder


@pytest.fixture(scope="session")
def mosaic_haplotypes() -> Callable[..., NDArray[np.int8]]:
    """Return the function that makes haplotypes in linkage disequilibrium."""
    return helpers.mosaic_haplotypes


# --- Fixtures of the upper half: panels, files and runs -------------------------------------------


def _make_panel(
    alleles: NDArray[Any],
    *,
    position: NDArray[np.int64] | None = None,
    populations: list[str] | None = None,
    prefix: str = "s",
) -> Any:
    """Return a Panel of (H, S) alleles, packed by NumPy, not by the kernels."""
    from snvrag.panel.panel import Panel

    num_haplotypes, num_sites = alleles.shape
    padded = np.zeros((num_sites, -(-num_haplotypes // 64) * 64), np.uint8)
    padded[:, :num_haplotypes] = alleles.T
    bits = np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    panel = Panel(
        chrom="1",
        position=1000 + 37 * np.arange(num_sites) if position is None else position,
        alleles=np.array([["A", "G"]] * num_sites),
        samples=tuple(f"{prefix}{i}" for i in range(num_haplotypes // 2)),
        site_bits=bits,
    )
    return panel if populations is None else panel.with_populations(populations)


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Any]:
    """Return the function that makes a Panel of (H, S) alleles."""
    return _make_panel


VCF_HEADER = (
    "##fileformat=VCFv4.2\n"
    "##contig=<ID=1,length=1000000>\n"
    "##contig=<ID=2,length=1000000>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="End">\n'
    '##ALT=<ID=DEL,Description="Deletion">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
)


def _write_vcf(
    path: Path,
    records: list[tuple[Any, ...]],
    samples: list[str] | tuple[str, ...] = ("a", "b", "c"),
    *,
    header: str = VCF_HEADER,
) -> Path:
    """Write records (chrom, position, REF, ALT, genotypes[, FORMAT]) to a plain VCF."""
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
    lines = ["\t".join([*columns, *(["FORMAT", *samples] if samples else [])])]
    for chrom, position, ref, alt, genotypes, *rest in records:
        fields = [chrom, str(position), ".", ref, alt, ".", "PASS", "."]
        if samples:
            fields += [rest[0] if rest else "GT", *genotypes.split()]
        lines.append("\t".join(fields))
    path.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write_vcf() -> Callable[..., Path]:
    """Return the function that writes records to a plain VCF."""
    return _write_vcf


def _write_panel_vcf(path: Path, panel: Any, alleles: NDArray[Any]) -> Path:
    """Write a panel, whose (H, S) alleles are given, to a plain VCF."""
    records = []
    for s, (position, (ref, alt)) in enumerate(
        zip(panel.position.tolist(), panel.alleles.tolist(), strict=True)
    ):
        column = alleles[:, s].tolist()
        pairs = zip(column[::2], column[1::2], strict=True)
        genotypes = " ".join(f"{first}|{second}" for first, second in pairs)
        records.append((panel.chrom, position, ref, alt, genotypes))
    return _write_vcf(path, records, panel.samples)


@pytest.fixture(scope="session")
def write_panel_vcf() -> Callable[..., Path]:
    """Return the function that writes a panel to a plain VCF."""
    return _write_panel_vcf


@pytest.fixture(scope="session")
def tiny_alleles() -> NDArray[np.int8]:
    """(48, 200) alleles of 24 samples, every site polymorphic in those that are not held out."""
    alleles = helpers.mosaic_haplotypes(48, 200, seed=3)
    kept = np.repeat(np.arange(24) % 6 != 0, 2)
    for s in range(200):  # the first allele of samples 1 and 2, where all agree
        alleles[2, s], alleles[4, s] = (
            (0, 1) if np.ptp(alleles[kept, s]) == 0 else alleles[[2, 4], s]
        )
    return alleles


@pytest.fixture(scope="session")
def tiny_vcf(tmp_path_factory: pytest.TempPathFactory, tiny_alleles: NDArray[np.int8]) -> Path:
    """Return the path of a plain VCF of `tiny_alleles`."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.vcf"
    return _write_panel_vcf(path, _make_panel(tiny_alleles), tiny_alleles)


@pytest.fixture(scope="session")
def tiny_arguments(tiny_vcf: Path) -> list[str]:
    """Arguments of `snvrag.train` that train within a second; --output is left to the test."""
    return [
        *("--panel", str(tiny_vcf), "--val-fraction", str(1 / 6), "--window-size", "64"),
        *("--segment-size", "32", "--segment-flank", "16", "--k", "4", "--width", "16"),
        *("--layers", "2", "--span", "32", "--epochs", "3", "--warmup-steps", "4"),
        *("--threads", "1", "--plot", "no"),
    ]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_arguments: list[str]) -> Path:
    """Return the checkpoint of a model trained on `tiny_vcf`."""
    from snvrag.train import main

    folder = tmp_path_factory.mktemp("tiny_model")
    assert main([*tiny_arguments, "--output", str(folder)]) == 0
    return folder / "rag_bert.model.best"
