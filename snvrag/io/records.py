"""From a file's records to blocks of sites: one rule for each kind of record, whatever the format.

A format is a `RecordSource`. What is kept comes out as `SiteBlock`, what is not is counted in a
`ReadReport`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError
from ..panel.site_block import SiteBlock

Missing = Literal["drop", "keep"]
Unphased = Literal["refuse", "hide"]

# Records read ahead to learn how many haplotypes a sample has, where the first does not tell.
_MOST_AHEAD = 1024
# What is taken for (REF, ALT), and as what: one look-up is all that most records need.
_SNVS = {
    (ref, alt): (ref + alt).upper()
    for ref in "ACGTacgt"
    for alt in "ACGTacgt"
    if ref.upper() != alt.upper()
}
_PLOIDY_NAMES = ("", "haploid", "diploid")


class DroppedSite(NamedTuple):
    """A record that was not kept; ``alt`` has all ALT alleles, with commas between."""

    chrom: str
    position: int
    ref: str
    alt: str
    reason: str


@dataclass
class ReadReport:
    """What became of the records of a file.

    Attributes
    ----------
    path : str
        The file.
    num_records : int
        Records read.
    dropped : Counter
        Number of dropped records by reason.
    num_missing : int
        Genotypes with a missing allele in the records kept.
    num_unphased : int
        Unphased heterozygotes in the records kept, taken as missing.
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
            text += ", dropped: " + ", ".join(
                f"{count} {reason}" for reason, count in self.dropped.most_common()
            )
        if self.num_missing:
            text += f"; {self.num_missing} genotypes missing"
        if self.num_unphased:
            text += f"; {self.num_unphased} unphased genotypes hidden"
        return text


# A record as a format gives it: chromosome, position, ID (None or "." without one), REF, ALTs and
# what its source needs to find the genotypes. Most formats decode those late, so that a record
# which is dropped costs little; and a plain tuple is made in a fifth of a named one's time.
Record: TypeAlias = tuple[str, int, str | None, str, Sequence[str], Any]


class RecordSource(Protocol):
    """What a format has to tell. Whatever is wrong with the file comes as InputError."""

    path: str
    samples: tuple[str, ...]

    def records(self) -> Iterator[Record]:
        """Yield the records in file order; called once."""

    def codes(self, handle: Any) -> NDArray[np.int32] | None:
        """Return a record's (num_samples, ploidy) genotypes coded as in BCF; None without any.

        ``handle`` is the record's last entry.

        A code is ``(allele + 1) << 1 | phased``, 0 or 1 for a missing allele and -2**31 + 1 behind
        the last allele of a call that is shorter than others.
        """

    def contig_length(self, chrom: str) -> int | None:
        """Return the length of a chromosome in bp, if the file tells it."""

    def quiet(self) -> AbstractContextManager[None]:
        """Return the context in which `records` and `codes` are used."""


@dataclass
class _Rows:
    """Sites on their way into a block, two bits a sample."""

    bits: NDArray[np.uint64]
    missing: NDArray[np.uint64] | None
    positions: list[int] = field(default_factory=list)
    alleles: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, num_words: int, keep_missing: bool) -> _Rows:
        none = np.empty((0, num_words), np.uint64)
        return cls(none, none.copy() if keep_missing else None)

    def reserve(self, num_sites: int) -> None:
        for array in (self.bits, self.missing):
            if array is not None and array.shape[0] < num_sites:
                array.resize((num_sites, array.shape[1]), refcheck=False)

    def behind(self, count: int) -> _Rows:
        """Return the sites from ``count`` on, in memory of their own."""
        end = len(self.positions)
        return _Rows(
            self.bits[count:end].copy(),
            None if self.missing is None else self.missing[count:end].copy(),
            self.positions[count:],
            self.alleles[count:],
            self.ids[count:],
        )


class BlockBuilder:
    """Applies the rules to a source's records and gathers what is kept.

    Samples have two bits each while their ploidy is not certain; the second one of haploid samples
    goes when a block is taken.

    Parameters
    ----------
    source : RecordSource
    missing, unphased, on_drop
        As in `snvrag.reading.open_haplotypes`.
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
        self._chrom = ""
        self._source = source
        self._keep_missing = missing == "keep"
        self._hide_unphased = unphased == "hide"
        self._on_drop = on_drop
        self._records: Iterator[Record] | None = source.records()
        num_words = (2 * len(source.samples) + 63) // 64
        self._ploidy = np.zeros(len(source.samples), np.uint8)
        self._ploidy_is_known = False
        self._columns: NDArray[np.int64] | None = None
        self._last_position = 0
        self._here: set[str] = set()
        self._no_missing = np.empty(num_words, np.uint64)
        self._rows = _Rows.empty(num_words, self._keep_missing)

    @property
    def ploidy(self) -> NDArray[np.int64]:
        """(num_samples,) int64: 1 or 2 haplotypes, once `settle` has been called."""
        return self._ploidy.astype(np.int64)

    def settle(self) -> str:
        """Read on until every sample's ploidy is known.

        Returns the chromosome, "" if no record is kept.
        """
        self._fill(1)
        if not self._ploidy.all():
            self._fill(_MOST_AHEAD, until_ploidy_is_known=True)
        unknown = self._ploidy == 0
        if unknown.any():
            told = self._ploidy[~unknown]
            self._ploidy[unknown] = 1 if told.size and (told == 1).all() else 2
        self._ploidy_is_known = True
        if (self._ploidy == 1).any():
            wide = np.arange(2 * self._ploidy.size).reshape(-1, 2)
            self._columns = wide[np.arange(2) < self._ploidy[:, None]]
        return self._chrom if self._rows.positions else ""

    def take(self, num_sites: int) -> SiteBlock | None:
        """Return the next sites, at most ``num_sites``, or None at the end."""
        self._fill(num_sites)
        rows = self._rows
        count = min(num_sites, len(rows.positions))
        if count == 0:
            return None
        self._rows = rows.behind(count)
        letters = np.frombuffer("".join(rows.alleles[:count]).encode(), "S1").astype("U1")
        return SiteBlock(
            np.array(rows.positions[:count], np.int64),
            letters.reshape(count, 2),
            rows.ids[:count],
            self._haplotypes(rows.bits[:count]),
            None if rows.missing is None else self._haplotypes(rows.missing[:count]),
        )

    def _haplotypes(self, wide: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Leave the second bits of haploid samples out."""
        if self._columns is None:
            return wide
        rows = _core.gather_columns(wide, 0, wide.shape[0], self._columns)
        return _core.transpose_bits(rows, wide.shape[0])

    def _fill(self, num_sites: int, *, until_ploidy_is_known: bool = False) -> None:
        rows = self._rows
        if self._records is None or len(rows.positions) >= num_sites:
            return
        rows.reserve(num_sites)
        here = self._here
        with self._source.quiet():
            for record in self._records:
                self.report.num_records += 1
                chrom, position, name, ref, alts, handle = record
                if position > self._last_position and chrom == self._chrom:
                    self._last_position = position
                    here.clear()
                else:
                    self._check_order(chrom, position)
                pair = _SNVS.get((ref, alts[0])) if len(alts) == 1 else None
                if pair is None:
                    self._drop(record, "multi-allelic" if len(alts) > 1 else "not an SNV")
                    continue
                if pair in here:
                    self._drop(record, "duplicate")
                    continue
                reason = self._read_genotypes(chrom, position, handle)
                if reason is not None:
                    self._drop(record, reason)
                    continue
                here.add(pair)
                rows.positions.append(position)
                rows.alleles.append(pair)
                rows.ids.append(name or ".")
                if len(rows.positions) == num_sites:
                    return
                if until_ploidy_is_known and self._ploidy.all():
                    return
            self._records = None

    def _check_order(self, chrom: str, position: int) -> None:
        """Take the first record, or one that does not simply follow the last."""
        if not self._chrom:
            self._chrom = chrom
        elif self._chrom != chrom:
            raise InputError(
                f"{self._source.path}: two chromosomes, {self._chrom} and {chrom}: "
                "choose one by --region"
            )
        if position != self._last_position:
            if position < self._last_position:
                raise InputError(
                    f"{self._source.path}: not sorted, {self._chrom}:{position} comes after "
                    f"{self._chrom}:{self._last_position}: run 'bcftools sort'"
                )
            self._here.clear()
            self._last_position = position

    def _drop(self, record: Record, reason: str) -> None:
        self.report.dropped[reason] += 1
        if self._on_drop is not None:
            chrom, position, _, ref, alts, _ = record
            self._on_drop(DroppedSite(chrom, position, ref, ",".join(alts) or ".", reason))

    def _read_genotypes(self, chrom: str, position: int, handle: Any) -> str | None:
        """Read a record's genotypes into the next row; return why it is dropped, or None."""
        codes = self._source.codes(handle)
        if codes is None:
            raise InputError(f"{self._source.path}: no genotypes (FORMAT/GT) at {chrom}:{position}")
        rows = self._rows
        row = len(rows.positions)
        before = None if self._ploidy_is_known else self._ploidy.copy()
        missing = rows.missing
        first_unphased, num_unphased, changed, polyploid, num_missing, highest = (
            _core.read_genotypes(
                codes,
                self._hide_unphased,
                self._ploidy,
                rows.bits[row],
                self._no_missing if missing is None else missing[row],
            )
        )
        if highest <= 1 and not num_missing and not num_unphased and polyploid < 0 and changed < 0:
            return None
        reason = None
        place = f"{chrom}:{position}"
        if highest > 1:
            reason = "multi-allelic"
        elif not self._keep_missing and num_missing:
            reason = "missing genotype"
        elif polyploid >= 0:
            raise self._refusal(
                place,
                polyploid,
                "a genotype of more than two alleles",
                "expected haploid or diploid samples",
            )
        elif changed >= 0:
            known = int(self._ploidy[changed])
            raise self._refusal(
                place, changed, f"a {_PLOIDY_NAMES[3 - known]} genotype",
                f"{_PLOIDY_NAMES[known]} before: choose a part of the chromosome by --region",
            )  # fmt: skip
        elif num_unphased and not self._hide_unphased:
            raise self._refusal(
                place, first_unphased, "an unphased genotype",
                "phase the file first (Beagle, Eagle or SHAPEIT)",
            )  # fmt: skip
        elif num_unphased and not self._keep_missing:
            reason = "unphased genotype"
        if reason is not None:
            if before is not None:
                self._ploidy[:] = before
            return reason
        self.report.num_missing += num_missing
        self.report.num_unphased += num_unphased
        return None

    def _refusal(self, place: str, sample: int, what: str, hint: str) -> InputError:
        name = self._source.samples[sample]
        return InputError(f"{self._source.path}: sample {name} has {what} at {place}, {hint}")
