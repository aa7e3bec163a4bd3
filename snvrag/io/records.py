"""Records of any file format become blocks of sites, by one rule for each kind of record.

A format is a `RecordSource`. Sites that are kept come out as `SiteBlock`; records that are dropped
are counted in a `ReadReport`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError
from ..panel.site_block import SiteBlock

Missing = Literal["drop", "keep"]
Unphased = Literal["refuse", "keep"]

# Code of a genotype past the last allele of a shorter call, as in BCF.
NO_ALLELE = -(2**31) + 1

# Sites read ahead to learn the ploidy of samples that the first site does not show.
_MAX_AHEAD = 1024
# The alleles of an SNV by (REF, ALT) as a file has them: most records need this one look-up.
_SNVS = {
    pair: "".join(pair).upper()
    for pair in product("ACGTacgt", repeat=2)
    if pair[0].upper() != pair[1].upper()
}
_PLOIDY_NAMES = ("", "haploid", "diploid")


class DroppedSite(NamedTuple):
    """A record that was dropped; ``alt`` lists all ALT alleles, separated by commas."""

    chrom: str
    position: int
    ref: str
    alt: str
    reason: str


@dataclass
class ReadReport:
    """Counts of the records of a file, read and dropped.

    Attributes
    ----------
    path : str
        The file.
    num_records : int
        Records read.
    dropped : Counter
        Number of dropped records by reason.
    num_missing : int
        Genotypes with a missing allele in records that were kept.
    num_unphased : int
        Unphased genotypes of two alleles that differ, one of which may be missing, in records that
        were kept.
    """

    path: str
    num_records: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    num_missing: int = 0
    num_unphased: int = 0

    def __str__(self) -> str:
        kept = self.num_records - sum(self.dropped.values())
        text = f"{self.path}: {self.num_records} records, {kept} kept"
        if self.dropped:
            text += f", dropped: {listed(self.dropped)}"
        if self.num_missing:
            text += f"; {self.num_missing} genotypes missing"
        if self.num_unphased:
            text += f"; {self.num_unphased} unphased"
        return text


def listed(counts: Counter[str]) -> str:
    """Return counts in words, the largest first: ``3 multi-allelic, 1 duplicate``."""
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


# A record of a format: chromosome, position, ID (None or "." without one), REF, ALTs and the handle
# by which its source finds the genotypes. Most formats decode genotypes late, so that a dropped
# record costs little; a plain tuple is made in a fifth of a named tuple's time.
Record: TypeAlias = tuple[str, int, str | None, str, Sequence[str], Any]


class RecordSource(Protocol):
    """A file format, for `open_haplotypes` to choose by a file's first bytes.

    It reads only the region that it is opened with, whose chromosome it finds by `Region.within`.
    Whatever is wrong with the file is raised as InputError.
    """

    path: str
    samples: tuple[str, ...]

    def records(self) -> Iterator[Record]:
        """Yield the records in file order; called once."""

    def codes(self, handle: Any) -> NDArray[np.int32] | None:
        """Return the genotypes of a record by its handle, coded as in BCF; None if it has none.

        Of shape (num_samples, ploidy). A code is ``(allele + 1) << 1 | phased``, 0 or 1 for a
        missing allele and `NO_ALLELE` past the last allele of a call that is shorter than others.
        """

    def phase_sets(self, handle: Any) -> NDArray[Any] | None:
        """Return the phase set of each sample at a record; None if the file has no such field.

        Of shape (num_samples,). Samples without one, there or anywhere, have the same value.
        """

    def contig_length(self, chrom: str) -> int | None:
        """Return the length of a chromosome in bp, if the file has it."""

    def quiet(self) -> AbstractContextManager[None]:
        """Return the context in which `records` and `codes` are used."""


def checked_samples(names: Iterable[str], path: str) -> tuple[str, ...]:
    """Return the names of a file's samples; InputError for none and for duplicates."""
    samples = tuple(names)
    if not samples:
        raise InputError("no samples", path=path)
    if len(set(samples)) != len(samples):
        duplicate = Counter(samples).most_common(1)[0][0]
        raise InputError(f"duplicate sample {duplicate}", path=path)
    return samples


def ordered(records: Iterable[Record], path: str, argument: str = "") -> Iterator[Record]:
    """Yield the records; InputError at a second chromosome or a position that descends."""
    last_chrom, last = "", 0
    for record in records:
        chrom, position, _, _, _, _ = record
        problem = ""
        if chrom != last_chrom and last_chrom:
            problem = f"two chromosomes, {last_chrom} and {chrom}: choose a region"
        elif position < last:
            where = f"{chrom}:{position} comes after {chrom}:{last}"
            problem = f"not sorted, {where}: run 'bcftools sort'"
        if problem:
            raise InputError(problem, argument=argument, path=path)
        last_chrom, last = chrom, position
        yield record


class BlockBuilder:
    """Applies the rules to a source's records and gathers the sites that are kept.

    Until the ploidy of all samples is known, each has two bits; those that haploid samples do not
    need are removed when a block is taken.

    Parameters are as in `snvrag.io.reading.open_haplotypes`.

    Attributes
    ----------
    chrom : str
        Empty if no site is kept.
    ploidy : (num_samples,) int64
        1 or 2, learned from the first sites, which are read at once.
    report : ReadReport
    """

    def __init__(
        self,
        source: RecordSource,
        *,
        missing: Missing,
        unphased: Unphased,
        on_drop: Callable[[DroppedSite], None] | None,
    ) -> None:
        self.report = ReadReport(source.path)
        self.chrom = ""
        self._source = source
        self._keep_missing = missing == "keep"
        self._keep_unphased = unphased == "keep"
        self._on_drop = on_drop
        self._records = ordered(source.records(), source.path)
        self._num_words = (2 * len(source.samples) + 63) // 64
        self._num_sample_words = (len(source.samples) + 63) // 64
        self._ploidy = np.zeros(len(source.samples), np.uint8)
        self._ploidy_is_known = False
        self._columns: NDArray[np.int64] | None = None
        self._position = 0
        self._pairs_here: set[str] = set()
        # The phase set of each sample's first phased genotype of two alleles, once it has one.
        self._phase_set = np.zeros(len(source.samples), object)
        self._has_phased = np.zeros(len(source.samples), bool)
        # Where bits go that nobody keeps.
        self._no_missing = np.empty(self._num_words, np.uint64)
        self._no_unphased = np.empty(self._num_sample_words, np.uint64)
        self.ploidy = self._resolve_ploidy()

    def _resolve_ploidy(self) -> NDArray[np.int64]:
        """Read ahead until the ploidy of every sample is known, and return it.

        A sample without a call among the sites read is haploid if all others are.
        """
        self._ahead = self._read(1)
        if not self._ploidy.all():
            more = self._read(_MAX_AHEAD - self._ahead.num_sites, until_ploidy_is_known=True)
            self._ahead = SiteBlock.concat([self._ahead, more])
        known = self._ploidy[self._ploidy > 0]
        self._ploidy[self._ploidy == 0] = 1 if known.size and (known == 1).all() else 2
        self._ploidy_is_known = True
        if (self._ploidy == 1).any():
            pairs = np.arange(2 * self._ploidy.size).reshape(-1, 2)
            self._columns = pairs[np.arange(2) < self._ploidy[:, None]]
        return self._ploidy.astype(np.int64)

    def take(self, num_sites: int) -> SiteBlock | None:
        """Return the next sites, at most ``num_sites``, or None at the end."""
        block = self._ahead
        if block.num_sites < num_sites:
            more = self._read(num_sites - block.num_sites)
            block = SiteBlock.concat([block, more]) if block.num_sites else more
        self._ahead = block.slice(num_sites, block.num_sites)
        block = block.slice(0, num_sites)
        if block.num_sites == 0:
            return None
        missing = block.missing_bits
        missing = None if missing is None else self._haplotypes(missing)
        return replace(block, site_bits=self._haplotypes(block.site_bits), missing_bits=missing)

    def _haplotypes(self, bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Remove the second bits of haploid samples."""
        if self._columns is None:
            return bits
        rows = _core.gather_columns(bits, 0, bits.shape[0], self._columns)
        return _core.transpose_bits(rows, bits.shape[0])

    def _read(self, num_sites: int, *, until_ploidy_is_known: bool = False) -> SiteBlock:
        """Return the next sites that are kept, with two bits a sample."""
        bits = np.empty((num_sites, self._num_words), np.uint64)
        missing = np.empty_like(bits) if self._keep_missing else None
        unphased = (
            np.empty((num_sites, self._num_sample_words), np.uint64)
            if self._keep_unphased
            else None
        )
        positions: list[int] = []
        alleles: list[str] = []
        ids: list[str] = []
        pairs_here = self._pairs_here
        with self._source.quiet():
            for record in self._records:
                self.report.num_records += 1
                chrom, position, name, ref, alts, _ = record
                if position != self._position:
                    self._position = position
                    pairs_here.clear()
                pair = _SNVS.get((ref, alts[0])) if len(alts) == 1 else None
                if pair is None:
                    self._drop(record, "multi-allelic" if len(alts) > 1 else "not an SNV")
                    continue
                if pair in pairs_here:
                    self._drop(record, "duplicate")
                    continue
                row = len(positions)
                reason = self._read_genotypes(
                    record,
                    bits[row],
                    self._no_missing if missing is None else missing[row],
                    self._no_unphased if unphased is None else unphased[row],
                )
                if reason is not None:
                    self._drop(record, reason)
                    continue
                self.chrom = chrom
                pairs_here.add(pair)
                positions.append(position)
                alleles.append(pair)
                ids.append(name or ".")
                if row + 1 == num_sites or (until_ploidy_is_known and self._ploidy.all()):
                    break
        n = len(positions)
        letters = np.frombuffer("".join(alleles).encode(), "S1").astype("U1").reshape(n, 2)
        missing = None if missing is None else missing[:n]
        unphased = None if unphased is None else unphased[:n]
        return SiteBlock(np.array(positions, np.int64), letters, ids, bits[:n], missing, unphased)

    def _drop(self, record: Record, reason: str) -> None:
        self.report.dropped[reason] += 1
        if self._on_drop is not None:
            chrom, position, _, ref, alts, _ = record
            self._on_drop(DroppedSite(chrom, position, ref, ",".join(alts) or ".", reason))

    def _read_genotypes(
        self,
        record: Record,
        bits: NDArray[np.uint64],
        missing: NDArray[np.uint64],
        unphased: NDArray[np.uint64],
    ) -> str | None:
        """Read a record's genotypes into a row; return why it is dropped, or None."""
        codes = self._source.codes(record[-1])
        if codes is None:
            raise self._refusal(record, "no genotypes (FORMAT/GT)")
        before = None if self._ploidy_is_known else self._ploidy.copy()
        first_unphased, num_unphased, changed, polyploid, num_missing, highest = (
            _core.read_genotypes(codes, self._ploidy, bits, missing, unphased)
        )
        reason = None
        if highest > 1:
            reason = "multi-allelic"
        elif not self._keep_missing and num_missing:
            reason = "missing genotype"
        elif polyploid >= 0:
            what = f"{self._sample(polyploid)} has a genotype of more than two alleles"
            raise self._refusal(record, what, ", expected haploid or diploid samples")
        elif changed >= 0:
            known = int(self._ploidy[changed])
            what = f"{self._sample(changed)} has a {_PLOIDY_NAMES[3 - known]} genotype"
            hint = f"{_PLOIDY_NAMES[known]} before: choose a region in which all have one ploidy"
            raise self._refusal(record, what, f", {hint}")
        elif num_unphased and not self._keep_unphased:
            what = f"{self._sample(first_unphased)} has an unphased genotype"
            raise self._refusal(record, what, ", phase the file first (Beagle, Eagle or SHAPEIT)")
        if reason is not None:
            if before is not None:
                self._ploidy[:] = before
            return reason
        if self._keep_unphased:
            sets = self._source.phase_sets(record[-1])
            if sets is not None:
                self._unphase_other_sets(sets, bits, missing, unphased)
            self.report.num_unphased += int(np.bitwise_count(unphased).sum())
        self.report.num_missing += num_missing
        return None

    def _unphase_other_sets(
        self,
        sets: NDArray[Any],
        bits: NDArray[np.uint64],
        missing: NDArray[np.uint64],
        unphased: NDArray[np.uint64],
    ) -> None:
        """Take phased genotypes as unphased unless they are of their sample's first phase set.

        The file says nothing of phase between sets, and the one bit of a genotype cannot say that
        two of them have the same set.
        """
        n = self._ploidy.size
        alleles = _core.unpack_rows(np.stack([bits, missing]), 2 * n).reshape(2, n, 2)
        flags = _core.unpack_rows(unphased[None], n)
        differ = (alleles[..., 0] != alleles[..., 1]).any(axis=0)
        phased = np.flatnonzero(differ & (self._ploidy != 1) & (flags[0] == 0))
        begun = phased[~self._has_phased[phased]]
        self._phase_set[begun], self._has_phased[begun] = sets[begun], True
        flags[0, phased] = self._phase_set[phased] != sets[phased]
        unphased[:] = _core.pack_rows(flags)[0]

    def _sample(self, index: int) -> str:
        return f"sample {self._source.samples[index]}"

    def _refusal(self, record: Record, what: str, hint: str = "") -> InputError:
        return InputError(f"{what} at {record[0]}:{record[1]}{hint}", path=self._source.path)
