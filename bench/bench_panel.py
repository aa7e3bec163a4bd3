"""From a file to bits: reading VCF and BCF, packing, unpacking and transposing a window's bits.

Reading gives a checked `Panel` (biallelic, phased, sorted, no duplicates). The baselines do less:
cyvcf2's own iteration over records, whose genotypes are decoded and dropped, and the plain loop
over Python lists that scripts have.
Packing is compared with `numpy.packbits` of the transposed copy, since alleles come by site and the
packed rows are haplotypes.

Limits. Reading is bound by htslib: inflating, and parsing 4 bytes a sample of a VCF or 2 of a BCF.
Packing reads one byte an allele: 5.1 MB of a window, 0.25 ms at 20 GB/s, and writes 0.64 MB;
unpacking is the reverse. Transposing bits reads and writes 0.64 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
import pytest
from mosaics import Founders, Window, make_panel
from numpy.typing import NDArray
from vcf_files import convert_vcf, genotype_columns

from snvrag import _core
from snvrag.io.reading import read_panel
from snvrag.kernels import pack_haplotypes, unpack_haplotypes
from snvrag.panel.panel import Panel

ITERATION, LOOP, OURS = "cyvcf2, genotypes alone", "loop over cyvcf2's lists", "snvrag read_panel"


@pytest.fixture(scope="module")
def site_alleles(sizes: Any) -> NDArray[np.int8]:
    """Return the (S, H) alleles of two windows."""
    num_sites = 2 * sizes.num_sites if sizes.full else 40
    bits = Founders(num_sites, seed=7).descendants(sizes.num_haplotypes, seed=7)
    return np.ascontiguousarray(unpack_haplotypes(bits, num_sites).T)


@pytest.fixture(scope="module")
def files(tmp_path_factory: Any, site_alleles: NDArray[np.int8]) -> dict[str, Path]:
    """Return the same alleles as VCF, plain and bgzipped, and as BCF."""
    folder = tmp_path_factory.mktemp("panel")
    plain = folder / "panel.vcf"
    samples = [f"s{i}" for i in range(site_alleles.shape[1] // 2)]
    columns = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    header = (
        "##fileformat=VCFv4.2\n"
        "##contig=<ID=1,length=100000000>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">\n'
        "#" + "\t".join(columns) + "\n"
    )
    with open(plain, "wb") as stream:
        stream.write(header.encode())
        for s, genotypes in enumerate(genotype_columns(site_alleles)):
            stream.write(f"1\t{10_000 + 80 * s}\t.\tA\tG\t.\tPASS\t.\tGT".encode())
            stream.write(genotypes + b"\n")
    made = {"VCF": plain, "VCF.gz": folder / "panel.vcf.gz", "BCF": folder / "panel.bcf"}
    convert_vcf(plain, made["VCF.gz"], "wz")
    convert_vcf(plain, made["BCF"], "wb")
    return made


def iterate(path: Path) -> int:
    """Decode every genotype and keep none."""
    return sum(record.genotype.array().shape[0] for record in cyvcf2.VCF(str(path)))


def loop(path: Path) -> list[list[int]]:
    """Return the alleles of each site as a list."""
    return [
        [allele for call in record.genotypes for allele in call[:2]]
        for record in cyvcf2.VCF(str(path))
    ]


@pytest.mark.parametrize("kind", ["VCF", "VCF.gz", "BCF"])
@pytest.mark.parametrize("name", [ITERATION, LOOP, OURS])
def test_read(
    name: str, kind: str, timed: Any, benchmark: Any, files: Any, site_alleles: NDArray[np.int8]
) -> None:
    benchmark.group = f"read {kind}, 2,040 sites, 2,504 samples"
    path = files[kind]

    def read() -> Panel:
        return read_panel(path)[0]

    if name == LOOP:
        np.testing.assert_array_equal(np.array(loop(path), np.int8), site_alleles)
    elif name == OURS:
        np.testing.assert_array_equal(read().site_bits, pack_haplotypes(site_alleles))
    way = {ITERATION: lambda: iterate(path), LOOP: lambda: loop(path), OURS: read}[name]
    timed(name, way, rounds=3)


# --- Packing --------------------------------------------------------------------------------------

Ways = tuple[Callable[[], NDArray[Any]], Callable[[], NDArray[Any]]]


def numpy_pack(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the rows packed to bytes."""
    return np.packbits(np.ascontiguousarray(rows), axis=1, bitorder="little")


def numpy_unpack(bits: NDArray[np.uint64], num_columns: int) -> NDArray[np.uint8]:
    """Return the alleles of packed rows."""
    return np.unpackbits(bits.view(np.uint8), axis=1, count=num_columns, bitorder="little")


def pack_sites(window: Window) -> Ways:
    alleles = np.ascontiguousarray(window.haplotypes.T)
    return lambda: numpy_pack(alleles.T), lambda: pack_haplotypes(alleles.T)


def pack_rows(window: Window) -> Ways:
    alleles = window.haplotypes
    return lambda: numpy_pack(alleles), lambda: pack_haplotypes(alleles)


def unpack(window: Window) -> Ways:
    bits, num_sites = window.bits, window.num_sites
    return lambda: numpy_unpack(bits, num_sites), lambda: unpack_haplotypes(bits, num_sites)


def transpose(window: Window) -> Ways:
    site_bits, num_haplotypes = pack_haplotypes(window.haplotypes.T), window.num_haplotypes
    return (
        lambda: numpy_pack(numpy_unpack(site_bits, num_haplotypes).T),
        lambda: _core.transpose_bits(site_bits, num_haplotypes),
    )


def select(window: Window) -> Ways:
    """What retrieval reads from a panel: 16 neighbours of each of 48 queries, in any order."""
    panel = make_panel(pack_haplotypes(window.haplotypes.T), window.num_haplotypes)
    chosen = np.random.default_rng(9).integers(0, window.num_haplotypes, 768)
    return (
        lambda: numpy_pack(numpy_unpack(panel.site_bits, window.num_haplotypes).T[chosen]),
        lambda: panel.haplotype_bits(chosen, 0, window.num_sites),
    )


# By group: what makes both ways, and their names.
PACKING = {
    "pack 1,020 sites x 5,008 haplotypes, sites as rows": (
        pack_sites,
        "numpy packbits of the transposed copy",
        "snvrag pack_haplotypes(alleles.T)",
    ),
    "pack 5,008 haplotypes x 1,020 sites, haplotypes as rows": (
        pack_rows,
        "numpy packbits",
        "snvrag pack_haplotypes(alleles)",
    ),
    "unpack 5,008 haplotypes x 1,020 sites": (
        unpack,
        "numpy unpackbits",
        "snvrag unpack_haplotypes",
    ),
    "bits of 1,020 sites to bits of 5,008 haplotypes": (
        transpose,
        "numpy unpackbits, transposed, packbits",
        "snvrag transpose_bits",
    ),
    "768 of 5,008 haplotypes out of 1,020 sites' bits": (
        select,
        "numpy unpackbits, columns taken, packbits",
        "snvrag Panel.haplotype_bits",
    ),
}


@pytest.mark.parametrize("group", PACKING)
@pytest.mark.parametrize("way", [0, 1], ids=["numpy", "snvrag"])
def test_packing(group: str, way: int, timed: Any, benchmark: Any, window: Window) -> None:
    benchmark.group = group
    make, *names = PACKING[group]
    ways = make(window)
    expected, found = (work() for work in ways)
    if found.dtype == np.uint64:
        found = found.view(np.uint8)[:, : expected.shape[1]]
    np.testing.assert_array_equal(found, expected)
    timed(names[way], ways[way])
