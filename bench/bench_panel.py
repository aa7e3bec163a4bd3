"""From a file to bits: reading VCF and BCF, packing, unpacking and turning a window's bits round.

Reading: ours gives a checked `Panel` (biallelic, phased, sorted, no duplicates). The references do
less: cyvcf2's own iteration that asks each record for its genotypes and drops them, and the plain
loop over Python lists that scripts have.
Packing: ``numpy.packbits`` of the transposed copy, as alleles come with sites as rows; the copy is
part of the work, since the packed rows are haplotypes.

Limits. Reading is bound by htslib: inflating, and parsing 4 bytes a sample of a VCF or 2 of a BCF.
Packing reads a byte an allele once: 5.1 MB of a window, 0.25 ms at 20 GB/s, and writes 0.64 MB;
unpacking the other way round. Turning bits reads and writes 0.64 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
import pytest
from mosaics import Founders, Window
from numpy.typing import NDArray

from snvrag import _core
from snvrag.kernels import pack_haplotypes, unpack_haplotypes
from snvrag.panel import Panel
from snvrag.reading import read_panel

ITERATION, LOOP, OURS = "cyvcf2, genotypes alone", "loop over cyvcf2's lists", "snvrag read_panel"


def write_files(folder: Path, alleles: NDArray[np.int8]) -> dict[str, Path]:
    """Write (S, H) alleles as VCF, plain and bgzipped, and as BCF."""
    num_sites, num_haplotypes = alleles.shape
    names = [f"s{i}" for i in range(num_haplotypes // 2)]
    calls = np.empty((num_sites, num_haplotypes // 2, 4), np.uint8)
    calls[:, :, 0], calls[:, :, 2] = alleles[:, ::2] + ord("0"), alleles[:, 1::2] + ord("0")
    calls[:, :, 1], calls[:, :, 3] = ord("|"), ord("\t")
    calls[:, -1, 3] = ord("\n")
    plain = folder / "panel.vcf"
    with open(plain, "wb") as stream:
        stream.write(
            b"##fileformat=VCFv4.2\n##contig=<ID=1,length=100000000>\n"
            b'##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">\n'
            b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
            + "\t".join(names).encode()
            + b"\n"
        )
        for s in range(num_sites):
            stream.write(f"1\t{10_000 + 80 * s}\t.\tA\tG\t.\tPASS\t.\tGT\t".encode())
            stream.write(calls[s].tobytes())
    files = {"VCF": plain, "VCF.gz": folder / "panel.vcf.gz", "BCF": folder / "panel.bcf"}
    for path, mode in zip(list(files.values())[1:], ("wz", "wb"), strict=True):
        source = cyvcf2.VCF(str(plain))
        target = cyvcf2.Writer(str(path), source, mode=mode)
        for record in source:
            target.write_record(record)
        target.close()
        source.close()
    return files


@pytest.fixture(scope="module")
def site_alleles(sizes: Any) -> NDArray[np.int8]:
    """(S, H) alleles of a few windows, sites as rows."""
    num_sites = 2 * sizes.num_sites if sizes.full else 40
    bits = Founders(num_sites, seed=7).descendants(sizes.num_haplotypes, seed=7)
    return np.ascontiguousarray(unpack_haplotypes(bits, num_sites).T)


@pytest.fixture(scope="module")
def files(tmp_path_factory: Any, site_alleles: NDArray[np.int8]) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("panel"), site_alleles)


def iterate(path: Path) -> int:
    return sum(record.genotype.array().shape[0] for record in cyvcf2.VCF(str(path)))


def loop(path: Path) -> list[list[int]]:
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
    targets: dict[str, float | None] = {ITERATION: 0.8, LOOP: None} if name == OURS else {}
    timed(name, way, rounds=3, targets=targets)


# --- packing --------------------------------------------------------------------------------------


def numpy_pack(rows: NDArray[np.int8]) -> NDArray[np.uint8]:
    return np.packbits(np.ascontiguousarray(rows), axis=1, bitorder="little")


def numpy_unpack(packed: NDArray[np.uint8], num_columns: int) -> NDArray[np.uint8]:
    return np.unpackbits(packed, axis=1, count=num_columns, bitorder="little")


def time_ways(
    timed: Any,
    name: str,
    names: tuple[str, str],
    reference: Callable[[], NDArray[Any]],
    ours: Callable[[], NDArray[Any]],
    least: float | None = None,
) -> None:
    """Time one of two ways."""
    if name == names[0]:
        timed(name, reference)
    else:
        timed(name, ours, targets={names[0]: least})


PACKED_SITES = ("numpy packbits of the transposed copy", "snvrag pack_haplotypes(alleles.T)")
PACKED_ROWS = ("numpy packbits", "snvrag pack_haplotypes(alleles)")
UNPACKED = ("numpy unpackbits", "snvrag unpack_haplotypes")
TURNED = ("numpy unpackbits, transposed, packbits", "snvrag transpose_bits")
TAKEN = ("numpy unpackbits, columns taken, packbits", "snvrag Panel.haplotype_bits")


@pytest.mark.benchmark(group="pack 1,020 sites x 5,008 haplotypes, sites as rows")
@pytest.mark.parametrize("name", PACKED_SITES)
def test_pack_sites(name: str, timed: Any, window: Window) -> None:
    alleles = np.ascontiguousarray(window.haplotypes.T)
    num_bytes = -(-window.num_sites // 8)
    ours = pack_haplotypes(alleles.T).view(np.uint8)
    np.testing.assert_array_equal(ours[:, :num_bytes], numpy_pack(alleles.T))
    time_ways(
        timed,
        name,
        PACKED_SITES,
        lambda: numpy_pack(alleles.T),
        lambda: pack_haplotypes(alleles.T),
        least=3,
    )


@pytest.mark.benchmark(group="pack 5,008 haplotypes x 1,020 sites, haplotypes as rows")
@pytest.mark.parametrize("name", PACKED_ROWS)
def test_pack_haplotypes(name: str, timed: Any, window: Window) -> None:
    alleles = window.haplotypes
    num_bytes = -(-window.num_sites // 8)
    ours = pack_haplotypes(alleles).view(np.uint8)
    np.testing.assert_array_equal(ours[:, :num_bytes], numpy_pack(alleles))
    time_ways(
        timed, name, PACKED_ROWS, lambda: numpy_pack(alleles), lambda: pack_haplotypes(alleles)
    )


@pytest.mark.benchmark(group="unpack 5,008 haplotypes x 1,020 sites")
@pytest.mark.parametrize("name", UNPACKED)
def test_unpack(name: str, timed: Any, window: Window) -> None:
    packed = window.bits.view(np.uint8)

    def reference() -> NDArray[np.uint8]:
        return numpy_unpack(packed, window.num_sites)

    def ours() -> NDArray[np.int8]:
        return unpack_haplotypes(window.bits, window.num_sites)

    np.testing.assert_array_equal(ours(), reference())
    time_ways(timed, name, UNPACKED, reference, ours)


@pytest.mark.benchmark(group="bits of 1,020 sites to bits of 5,008 haplotypes")
@pytest.mark.parametrize("name", TURNED)
def test_transpose(name: str, timed: Any, window: Window) -> None:
    site_bits = pack_haplotypes(window.haplotypes.T)

    def reference() -> NDArray[np.uint8]:
        return numpy_pack(numpy_unpack(site_bits.view(np.uint8), window.num_haplotypes).T)

    def ours() -> NDArray[np.uint64]:
        return _core.transpose_bits(site_bits, window.num_haplotypes)

    np.testing.assert_array_equal(ours(), window.bits)
    num_bytes = -(-window.num_sites // 8)
    np.testing.assert_array_equal(ours().view(np.uint8)[:, :num_bytes], reference())
    time_ways(timed, name, TURNED, reference, ours)


@pytest.mark.benchmark(group="768 of 5,008 haplotypes out of 1,020 sites' bits")
@pytest.mark.parametrize("name", TAKEN)
def test_take(name: str, timed: Any, window: Window) -> None:
    """What retrieval takes out of a panel: 16 neighbours of 48 queries, in no order."""
    panel = Panel(
        chrom="1",
        position=np.arange(1, window.num_sites + 1, dtype=np.int64),
        alleles=np.tile(np.array([["A", "G"]]), (window.num_sites, 1)),
        samples=tuple(f"s{i}" for i in range(window.num_haplotypes // 2)),
        site_bits=pack_haplotypes(window.haplotypes.T),
    )
    packed = panel.site_bits.view(np.uint8)
    wanted = np.random.default_rng(9).integers(0, window.num_haplotypes, 768)

    def reference() -> NDArray[np.uint8]:
        return numpy_pack(numpy_unpack(packed, window.num_haplotypes).T[wanted])

    def ours() -> NDArray[np.uint64]:
        return panel.haplotype_bits(wanted, 0, window.num_sites)

    np.testing.assert_array_equal(ours(), window.bits[wanted])
    num_bytes = -(-window.num_sites // 8)
    np.testing.assert_array_equal(ours().view(np.uint8)[:, :num_bytes], reference())
    time_ways(timed, name, TAKEN, reference, ours)
