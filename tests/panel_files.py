"""Makes panels, and writes and reads their files by other means than the package's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
from numpy.typing import NDArray

from helpers import pack, unpack
from snvrag.panel.panel import Panel

VCF_HEADER = (
    "##fileformat=VCFv4.2\n"
    "##contig=<ID=1,length=1000000>\n"
    "##contig=<ID=2,length=1000000>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="End">\n'
    '##ALT=<ID=DEL,Description="Deletion">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
)


def make_panel(
    alleles: NDArray[Any],
    *,
    position: NDArray[np.int64] | None = None,
    populations: list[str] | None = None,
    ploidy: NDArray[np.int64] | None = None,
    prefix: str = "s",
) -> Panel:
    """Return a Panel of (H, S) alleles, packed by NumPy, not by the kernels."""
    num_haplotypes, num_sites = alleles.shape
    num_samples = num_haplotypes // 2 if ploidy is None else len(ploidy)
    panel = Panel(
        chrom="1",
        position=1000 + 37 * np.arange(num_sites) if position is None else position,
        alleles=np.array([["A", "G"]] * num_sites),
        samples=tuple(f"{prefix}{i}" for i in range(num_samples)),
        site_bits=pack(alleles.T),
        ploidy=ploidy,
    )
    return panel if populations is None else panel.with_populations(populations)


def unpack_sites(site_bits: NDArray[np.uint64], num_haplotypes: int) -> NDArray[np.int8]:
    """Return the (H, S) alleles of rows of bits, past whose last haplotype no bit may be set."""
    rows = unpack(site_bits, 64 * site_bits.shape[1])
    assert not rows[:, num_haplotypes:].any()
    return rows[:, :num_haplotypes].T


def alleles_of(panel: Panel) -> NDArray[np.int8]:
    """Return the (H, S) alleles of a panel."""
    return unpack_sites(panel.site_bits, panel.num_haplotypes)


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
    for position, letters, column in zip(
        panel.position.tolist(), panel.alleles.tolist(), alleles.T.tolist(), strict=True
    ):
        pairs = zip(column[::2], column[1::2], strict=True)
        genotypes = " ".join(f"{first}|{second}" for first, second in pairs)
        records.append((panel.chrom, position, *letters, genotypes))
    return write_vcf(path, records, panel.samples)


def convert_vcf(source: Path, target: Path, mode: str) -> Path:
    """Write the records of a VCF as bgzipped VCF (mode "wz"), BCF ("wb") or VCF ("w")."""
    reader = cyvcf2.VCF(str(source))
    writer = cyvcf2.Writer(str(target), reader, mode)
    for record in reader:
        writer.write_record(record)
    writer.close()
    reader.close()
    return target
