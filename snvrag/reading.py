"""Reading haplotypes: one interface for every format, as a stream of blocks or as a whole panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .panel import Panel
from .regions import Region
from .site_blocks import (
    BlockBuilder,
    DroppedSite,
    Missing,
    ReadReport,
    RecordSource,
    SiteBlock,
    Unphased,
)

_BLOCK_SITES = 1024


class HaplotypeReader(Protocol):
    """An open file of haplotypes.

    Attributes
    ----------
    samples : tuple of str
    ploidy : (num_samples,) int64
        Haplotypes of each sample, 1 or 2. Haplotypes are in the samples' order.
    chrom : str
    contig_length : int or None
        Length of the chromosome in bp, if the file tells it.
    report : ReadReport
        What became of the records read so far.
    """

    @property
    def samples(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def ploidy(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def chrom(self) -> str: ...  # noqa: D102
    @property
    def contig_length(self) -> int | None: ...  # noqa: D102
    @property
    def report(self) -> ReadReport: ...  # noqa: D102

    def blocks(self, num_sites: int = _BLOCK_SITES) -> Iterator[SiteBlock]:
        """Yield the sites that are kept, at most ``num_sites`` at a time; can be used once.

        Raises InputError where the file turns out damaged or breaks a rule.
        """


class _RecordReader:
    """The haplotypes of a format that is read record by record."""

    def __init__(
        self,
        source: RecordSource,
        *,
        missing: Missing,
        unphased: Unphased,
        on_drop: Callable[[DroppedSite], None] | None,
        region: Region | None,
    ) -> None:
        self.samples = source.samples
        self._builder = BlockBuilder(source, missing=missing, unphased=unphased, on_drop=on_drop)
        self.report = self._builder.report
        self.chrom = self._builder.settle()
        if not self.chrom:
            where = f" in {region.text}" if region else ""
            raise InputError(f"{source.path}: no phased biallelic SNV left{where} ({self.report})")
        self.ploidy = self._builder.ploidy
        self.contig_length = source.contig_length(self.chrom)

    def blocks(self, num_sites: int = _BLOCK_SITES) -> Iterator[SiteBlock]:
        """See `HaplotypeReader.blocks`."""
        while (block := self._builder.take(num_sites)) is not None:
            yield block


def open_haplotypes(
    path: str | Path,
    *,
    region: str | None = None,
    missing: Missing = "drop",
    unphased: Unphased = "refuse",
    on_drop: Callable[[DroppedSite], None] | None = None,
) -> HaplotypeReader:
    """Open the biallelic SNVs of one chromosome, as a stream.

    One rule for each kind of record: a record with several ALT alleles, one that is not an SNV, and
    one whose position and alleles were there before are dropped and counted; so is one with a
    missing or an unphased genotype, unless it is to be kept or refused. A second chromosome, a
    position that descends, a call of three alleles and a sample whose ploidy changes are refused.
    Nothing of a record that is dropped is looked at further. Unphased homozygotes are phased by
    nature.

    Parameters
    ----------
    path : str or Path
        VCF or BCF, plain, gzipped or bgzipped.
    region : str, optional
        ``chrom`` or ``chrom:first-last`` (1-based, inclusive); a VCF or BCF needs an index.
    missing : {"drop", "keep"}
        Whether records with a missing allele are dropped, or kept with ``missing_bits``.
    unphased : {"refuse", "hide"}
        Whether an unphased heterozygote is an error, or both its alleles are taken as missing.
    on_drop : callable, optional
        Called with every `DroppedSite`, in file order.

    Returns
    -------
    HaplotypeReader
        Memory: one block of sites, whatever the size of the file.

    Raises
    ------
    InputError
        If the file cannot be read, is refused within what is read ahead to learn the samples'
        ploidy (mostly one record), or nothing is left.
    """
    where = None if region is None else Region.parse(region)
    source = _open_source(str(path), where)
    return _RecordReader(source, missing=missing, unphased=unphased, on_drop=on_drop, region=where)


def read_panel(path: str | Path, *, region: str | None = None) -> tuple[Panel, ReadReport]:
    """Read the phased biallelic SNVs of one chromosome, complete ones, into memory.

    Parameters
    ----------
    path, region
        As in `open_haplotypes`, whose rules hold.

    Returns
    -------
    Panel, ReadReport
        Memory: one bit an allele, a sixteenth more while reading, and a block of sites.

    Raises
    ------
    InputError
        If the file cannot be read or is refused, or if nothing is left.
    """
    reader = open_haplotypes(path, region=region)
    num_words = (int(reader.ploidy.sum()) + 63) // 64
    bits = np.empty((_BLOCK_SITES, num_words), np.uint64)
    position: list[NDArray[np.int64]] = []
    alleles: list[NDArray[np.str_]] = []
    num_sites = 0
    for block in reader.blocks():
        end = num_sites + block.num_sites
        if end > bits.shape[0]:
            # In small steps, since what is added is cleared, and so takes memory at once. Nothing
            # else refers to the array, and NumPy's own count is fooled by debuggers.
            rows = max(end, bits.shape[0] + max(_BLOCK_SITES, bits.shape[0] // 16))
            bits.resize((rows, num_words), refcheck=False)
        bits[num_sites:end] = block.site_bits
        position.append(block.position)
        alleles.append(block.alleles)
        num_sites = end
    bits.resize((num_sites, num_words), refcheck=False)
    panel = Panel(
        chrom=reader.chrom,
        position=np.concatenate(position),
        alleles=np.concatenate(alleles),
        samples=reader.samples,
        site_bits=bits,
        ploidy=None if (reader.ploidy == 2).all() else reader.ploidy,
    )
    return panel, reader.report


def _open_source(path: str, region: Region | None) -> RecordSource:
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a folder, not a VCF or BCF file")
    from .vcf import VcfSource

    return VcfSource(path, region)
