"""Functions that several test modules use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snvrag.panel.panel import Panel

# --- bits -----------------------------------------------------------------------------------------


def pack(alleles: NDArray[Any]) -> NDArray[np.uint64]:
    """Pack rows of alleles to words by NumPy, not by the kernels."""
    num_rows, num_columns = alleles.shape
    num_words = -(-num_columns // 64)
    padded = np.zeros((num_rows, 64 * num_words), np.uint8)
    padded[:, :num_columns] = alleles
    packed = np.packbits(padded, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64).reshape(num_rows, num_words)


def unpack(bits: NDArray[np.uint64], num_columns: int) -> NDArray[np.int8]:
    """Unpack rows of words to alleles by NumPy, not by the kernels."""
    as_bytes = np.ascontiguousarray(bits.astype("<u8")).view(np.uint8)
    alleles = np.unpackbits(as_bytes, axis=1, bitorder="little")[:, :num_columns]
    return alleles.astype(np.int8)


def mosaic_haplotypes(
    num_haplotypes: int,
    num_sites: int,
    *,
    num_founders: int = 8,
    switch_rate: float = 0.02,
    error_rate: float = 0.002,
    seed: int = 0,
) -> NDArray[np.int8]:
    """Return (H, L) alleles in linkage disequilibrium: mosaics of a few founders.

    A haplotype copies a founder and goes to another with probability `switch_rate` a site; an
    allele is flipped with probability `error_rate`. Founders' frequencies are skewed to rare ALT.
    """
    random = np.random.default_rng(seed)
    frequency = random.beta(0.5, 1.5, num_sites)
    founders = random.random((num_founders, num_sites)) < frequency
    switch = random.random((num_haplotypes, num_sites)) < switch_rate
    switch[:, :1] = True
    start = np.maximum.accumulate(np.where(switch, np.arange(num_sites), 0), axis=1)
    choice = random.integers(0, num_founders, (num_haplotypes, num_sites))
    founder = np.take_along_axis(choice, start, axis=1)
    alleles = founders[founder, np.arange(num_sites)]
    alleles ^= random.random((num_haplotypes, num_sites)) < error_rate
    return alleles.astype(np.int8)


# --- arrays of any layout -------------------------------------------------------------------------


def unaligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return an equal array whose memory begins one byte off."""
    memory = bytearray(array.nbytes + 1)
    result = np.frombuffer(memory, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    assert not result.flags.aligned
    return result


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    result = array.copy()
    result.flags.writeable = False
    return result


# --- panels and files -----------------------------------------------------------------------------


def make_panel(
    alleles: NDArray[Any],
    *,
    position: NDArray[np.int64] | None = None,
    populations: list[str] | None = None,
    prefix: str = "s",
) -> Panel:
    """Return a Panel of (H, S) alleles, packed by NumPy, not by the kernels."""
    num_haplotypes, num_sites = alleles.shape
    panel = Panel(
        chrom="1",
        position=1000 + 37 * np.arange(num_sites) if position is None else position,
        alleles=np.array([["A", "G"]] * num_sites),
        samples=tuple(f"{prefix}{i}" for i in range(num_haplotypes // 2)),
        site_bits=pack(alleles.T),
    )
    return panel if populations is None else panel.with_populations(populations)


VCF_HEADER = (
    "##fileformat=VCFv4.2\n"
    "##contig=<ID=1,length=1000000>\n"
    "##contig=<ID=2,length=1000000>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="End">\n'
    '##ALT=<ID=DEL,Description="Deletion">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
)


def write_vcf(
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


def write_panel_vcf(path: Path, panel: Panel, alleles: NDArray[Any]) -> Path:
    """Write a panel, whose (H, S) alleles are given, to a plain VCF."""
    records = []
    for s, (position, (ref, alt)) in enumerate(
        zip(panel.position.tolist(), panel.alleles.tolist(), strict=True)
    ):
        column = alleles[:, s].tolist()
        pairs = zip(column[::2], column[1::2], strict=True)
        genotypes = " ".join(f"{first}|{second}" for first, second in pairs)
        records.append((panel.chrom, position, ref, alt, genotypes))
    return write_vcf(path, records, panel.samples)


# --- targets and masks ----------------------------------------------------------------------------


def own_targets(panel: Panel) -> Any:
    """Return a panel's own samples as targets."""
    from snvrag.batches.dataset import Targets

    every = np.ones(panel.num_sites, bool)
    return Targets(panel, every, np.arange(panel.num_samples), panel.sample_population)


def mask_formula(
    af: NDArray[np.float64], mask_seed: int, window: int, rate: float
) -> NDArray[np.bool_]:
    """Return the mask of a window as contract 4.1 says, in NumPy."""
    u = np.random.Generator(np.random.Philox(key=mask_seed * 10_000 + window)).random(af.size)
    return u < np.where(af < 0.05, 0.7, rate)
