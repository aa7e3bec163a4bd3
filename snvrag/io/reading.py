"""Reading haplotypes of any format, as a stream of blocks or as a whole panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, unreadable
from ..panel.panel import Panel
from ..panel.regions import NoChromosomeError, Region, plain_chrom
from ..panel.site_block import SiteBlock
from .prepared import PreparedReader, is_prepared
from .records import BlockBuilder, DroppedSite, Missing, ReadReport, RecordSource, Unphased

_BLOCK_SITES = 1024
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class HaplotypeReader(Protocol):
    """An open file of haplotypes.

    Attributes
    ----------
    samples : tuple of str
    ploidy : (num_samples,) int64
        Haplotypes of each sample, 1 or 2. Haplotypes are in the order of the samples.
    chrom : str
    contig_length : int or None
        Length of the chromosome in bp, if the file has it.
    report : ReadReport
        Counts of the records read so far.
    """

    samples: tuple[str, ...]
    ploidy: NDArray[np.int64]
    chrom: str
    contig_length: int | None
    report: ReadReport

    def blocks(self, num_sites: int = _BLOCK_SITES) -> Iterator[SiteBlock]:
        """Yield the sites that are kept, at most ``num_sites`` at a time; can be called once.

        Raises InputError where the file is damaged or breaks a rule.
        """


class RecordReader:
    """A `HaplotypeReader` of a format that is read record by record.

    Parameters are those of `open_haplotypes`.
    """

    def __init__(
        self,
        source: RecordSource,
        *,
        missing: Missing = "drop",
        unphased: Unphased = "refuse",
        on_drop: Callable[[DroppedSite], None] | None = None,
        region: Region | None = None,
    ) -> None:
        self.samples = source.samples
        self._builder = BlockBuilder(source, missing=missing, unphased=unphased, on_drop=on_drop)
        self.report = self._builder.report
        self.ploidy = self._builder.ploidy
        self.chrom = self._builder.chrom
        if not self.chrom:
            where = f" in {region.text}" if region else ""
            problem = f"no biallelic SNV left{where} ({self.report})"
            raise InputError(problem, path=source.path)
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

    Each kind of record has one rule. Dropped and counted are records with several ALT alleles,
    records that are not SNVs, duplicates of a position and alleles, and, by the arguments, records
    with missing genotypes. Refused are a second chromosome, a position that descends, a call of
    more than two alleles, a sample whose ploidy changes and, by the arguments, an unphased
    heterozygote. A record that is dropped by one rule is not checked against the others. Homozygous
    calls need no phase.

    Parameters
    ----------
    path : str or Path
        VCF (plain, gzipped or bgzipped), BCF, HDF5 of scikit-allel, a folder of VCF Zarr, or a
        prepared panel. The format is detected by content.
    region : str, optional
        ``chrom`` or ``chrom:first-last`` (1-based, inclusive), with or without ``chr``. A VCF or
        BCF then needs an index.
    missing : {"drop", "keep"}
        Whether records with a missing allele are dropped, or kept with ``missing_bits``.
    unphased : {"refuse", "keep"}
        Whether an unphased heterozygote is an error, or kept with ``unphased_bits``. Where a VCF
        or BCF has phase sets (FORMAT/PS), a sample's heterozygotes outside of its first one are
        then unphased, too.
    on_drop : callable, optional
        Called with every `DroppedSite` in file order.

    Returns
    -------
    HaplotypeReader
        It holds one block of sites in memory, whatever the size of the file.

    Raises
    ------
    InputError
        If the file cannot be read, no site is left, or the first sites are refused: those that are
        read ahead to learn the ploidy of the samples (mostly one).
    """
    path, place = str(path), None if region is None else Region.parse(region)
    if is_prepared(_head(path)):
        return PreparedReader(path, place)
    source = _open_source(path, place)
    return RecordReader(source, missing=missing, unphased=unphased, on_drop=on_drop, region=place)


def open_target(
    path: str | Path, chrom: str, *, region: str | None = None, argument: str = "target", **how: Any
) -> HaplotypeReader:
    """Open a file to be matched with a panel at the panel's chromosome, ``chr`` or not.

    Without a region, a VCF or BCF with an index is read at the chromosome alone. ``how`` are the
    other arguments of `open_haplotypes`. Raises as that does, and InputError, which names
    ``argument``, if the file has another chromosome.
    """
    open_at = partial(open_haplotypes, path, **how)
    if region is None and any(Path(f"{path}{suffix}").exists() for suffix in (".tbi", ".csi")):
        try:
            target = open_at(region=chrom)
        except NoChromosomeError:
            target = open_at()  # so that the error below names its chromosome
    else:
        target = open_at(region=region)
    if plain_chrom(target.chrom) != plain_chrom(chrom):
        problem = f"must have the panel's chromosome {chrom}, got {target.chrom}"
        raise InputError(problem, argument=argument, path=path)
    return target


def open_prepared(path: str | Path) -> PreparedReader:
    """Open a panel written by `prepare`; InputError if the file is not one."""
    if not is_prepared(_head(str(path))):
        raise InputError("not a panel prepared by snvrag", path=path)
    return PreparedReader(str(path))


def read_panel(
    path: str | Path, *, region: str | None = None, verify: bool = False
) -> tuple[Panel, ReadReport]:
    """Read the phased biallelic SNVs of one chromosome without missing genotypes into memory.

    Parameters
    ----------
    path, region
        As in `open_haplotypes`, whose rules hold.
    verify : bool
        Whether to compare a prepared panel with its checksums, which reads all of it.

    Returns
    -------
    Panel, ReadReport
        The panel takes one bit of memory an allele, and while it is read a sixteenth more and a
        block of sites. A prepared panel is mapped: its (read-only) arrays stay in the file until
        they are accessed.

    Raises
    ------
    InputError
        If the file cannot be read or is refused, or no site is left.
    """
    reader = open_haplotypes(path, region=region)
    if isinstance(reader, PreparedReader):
        if verify:
            reader.verify()
        return reader.panel(), reader.report
    return collect_panel(reader), reader.report


def collect_panel(
    reader: HaplotypeReader, *, on_block: Callable[[SiteBlock], None] | None = None
) -> Panel:
    """Read all blocks of a stream into a panel; ``on_block`` is called with each."""
    num_words = (int(reader.ploidy.sum()) + 63) // 64
    bits = np.empty((_BLOCK_SITES, num_words), np.uint64)
    columns: list[tuple[NDArray[np.int64], NDArray[np.str_]]] = []
    num_sites = 0
    for block in reader.blocks():
        end = num_sites + block.num_sites
        if end > bits.shape[0]:
            # In small steps: resizing clears, and so allocates, all that it adds. Nothing else
            # refers to the array; NumPy's own check of that fails under debuggers.
            rows = max(end, bits.shape[0] + max(_BLOCK_SITES, bits.shape[0] // 16))
            bits.resize((rows, num_words), refcheck=False)
        bits[num_sites:end] = block.site_bits
        columns.append((block.position, block.alleles))
        num_sites = end
        if on_block is not None:
            on_block(block)
    bits.resize((num_sites, num_words), refcheck=False)
    position, alleles = map(np.concatenate, zip(*columns, strict=True))
    ploidy = None if (reader.ploidy == 2).all() else reader.ploidy
    return Panel(reader.chrom, position, alleles, reader.samples, bits, ploidy=ploidy)


def _head(path: str) -> bytes:
    """Return the first bytes of a file, which identify its format; none of a folder."""
    try:
        if Path(path).is_dir():
            return b""
        with open(path, "rb") as stream:
            return stream.read(16)
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _open_source(path: str, region: Region | None) -> RecordSource:
    # The library of each format is imported only where it is needed: some are extras.
    if Path(path).is_dir():
        from .vcf_zarr import VcfZarrSource, is_zarr

        if is_zarr(path):
            return VcfZarrSource(path, region)
        raise InputError("is a folder, not a file of haplotypes or a VCF Zarr", path=path)
    if _head(path).startswith(_HDF5_MAGIC):
        from .hdf5 import Hdf5Source

        return Hdf5Source(path, region)
    from .vcf import VcfSource

    return VcfSource(path, region)
