"""Genotypes and dosages of VCF and BCF records, site by site, in a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..panel.regions import Region
from .records import NO_ALLELE, Record, ordered
from .vcf import VcfSource

Alleles = tuple[str, str]

# INFO flags that imputation programs set: snvrag and Minimac4 TYPED, Minimac4 IMPUTED, Beagle IMP.
_TYPED_FLAGS = ("TYPED", "TYPED_ONLY")
_IMPUTED_FLAGS = ("IMP", "IMPUTED")
_REF_CODE = 3  # REF and its phase bit, coded as in BCF
_TOLERANCE = 0.01  # what rounding to two or three digits may add to a dosage


class SiteStream:
    """The biallelic sites of one chromosome of a file, position by position.

    Parameters
    ----------
    argument : str
        By which the file was given, for errors.
    path : str or Path
        VCF or BCF, plain or bgzipped.
    region : str, optional
        ``chrom`` or ``chrom:first-last``, with or without ``chr``; the file needs an index.

    Attributes
    ----------
    samples : tuple of str
    chrom : str
        Name of the chromosome; empty before the first record.
    position : int
        Position of `records`; 0 before the first `advance`.
    records : dict
        Records at that position by (REF, ALT); empty at the end of the file.
    num_records : int
        Number of records read.
    dropped : Counter
        Number of dropped records by reason.
    """

    def __init__(self, argument: str, path: str | Path, region: str | None = None) -> None:
        self.argument = argument
        self.path = str(path)
        self._source = VcfSource(self.path, Region.parse(region) if region else None)
        self.samples = self._source.samples
        self.chrom = ""
        self.position = 0
        self.records: dict[Alleles, Record] = {}
        self.num_records = 0
        self.dropped: Counter[str] = Counter()
        self._groups = self._group()

    def quiet(self) -> AbstractContextManager[None]:
        """Return the context to read in: it keeps htslib from writing to standard error."""
        return self._source.quiet()

    @property
    def at_end(self) -> bool:
        """Whether all records have been passed."""
        return self.position > 0 and not self.records

    def advance(self, position: int = 0) -> int:
        """Go to the next position, or to the first one from ``position`` on.

        Returns
        -------
        int
            The number of sites skipped between the old position and the new one.
        """
        num_skipped = 0
        while True:
            self.position, self.records = next(self._groups, (max(self.position, 1), {}))
            if not self.records or self.position >= position:
                return num_skipped
            num_skipped += len(self.records)

    def is_typed(self, record: Record) -> bool | None:
        """Return whether a record was typed, not imputed; None if the file does not say.

        By INFO: typed with TYPED or TYPED_ONLY; imputed with IMP or IMPUTED; else typed if the
        header declares IMP or IMPUTED, or imputed if it declares TYPED.
        """
        info = record[-1].INFO
        if any(info.get(flag) is not None for flag in _TYPED_FLAGS):
            return True
        if any(info.get(flag) is not None for flag in _IMPUTED_FLAGS):
            return False
        if self._declares(_IMPUTED_FLAGS):
            return True
        return False if self._declares(_TYPED_FLAGS) else None

    def _declares(self, flags: tuple[str, ...]) -> bool:
        return any(map(self._source.declares_info, flags))

    def codes(self, record: Record) -> NDArray[np.int32] | None:
        """Return (N, ploidy) genotypes coded as in `RecordSource.codes`; None without any."""
        return self._source.codes(record[-1])

    def error(self, what: str, record: Record, hint: str = "") -> InputError:
        """Return the error of a record."""
        message = f"{what} at {record[0]}:{record[1]}{hint}"
        return InputError(message, argument=self.argument, path=self.path)

    def _group(self) -> Iterator[tuple[int, dict[Alleles, Record]]]:
        last, records = 0, dict[Alleles, Record]()
        for record in ordered(self._source.records(), self.path, self.argument):
            self.chrom, position, _, ref, alts, _ = record
            self.num_records += 1
            if position != last:
                if records:
                    yield last, records
                last, records = position, {}
            if len(alts) != 1:
                self.dropped["multi-allelic" if alts else "without ALT"] += 1
            elif (alleles := (ref.upper(), alts[0].upper())) in records:
                self.dropped["duplicate"] += 1
            else:
                records[alleles] = record
        if records:
            yield last, records


@dataclass(frozen=True)
class Genotypes:
    """Genotypes of a record's samples.

    Attributes
    ----------
    dosage : (N,) float64
        Number of ALT alleles, expected or counted, from 0 to the ploidy; NaN where missing.
    call : (N,) float64
        Number of ALT alleles of the called genotype, or the rounded dosage without one.
    ploidy : (N,) int64
        1 or 2; 0 where unknown.
    """

    dosage: NDArray[np.float64]
    call: NDArray[np.float64]
    ploidy: NDArray[np.int64]


def read_calls(stream: SiteStream, record: Record) -> Genotypes:
    """Return the genotypes of FORMAT/GT; one with a missing allele is missing.

    Raises InputError if the record has no genotypes, or genotypes of more than two alleles.
    """
    calls = _calls(stream, record)
    if calls is None:
        raise stream.error("no genotypes (FORMAT/GT)", record)
    return calls


def _calls(stream: SiteStream, record: Record) -> Genotypes | None:
    codes = stream.codes(record)
    if codes is None:
        return None
    if codes.shape[1] > 2:
        what = f"genotypes of {codes.shape[1]} alleles"
        raise stream.error(what, record, ", expected one or two")
    count = np.zeros(codes.shape[0])
    ploidy = np.zeros(codes.shape[0], np.int64)
    missing = np.zeros(codes.shape[0], bool)
    for column in codes.T:  # NumPy is slow at sums over an axis of two
        count += column > _REF_CODE
        ploidy += column != NO_ALLELE
        missing |= (column == 0) | (column == 1)
    count[missing | (ploidy == 0)] = np.nan
    return Genotypes(count, count, ploidy)


def read_dosages(stream: SiteStream, record: Record) -> Genotypes:
    """Return the dosages of FORMAT/DS, else HDS, else GP, else GT, with the called genotypes.

    Raises InputError if the record has none of these fields, or a dosage outside of 0 to 2.
    """
    fields = record[-1].FORMAT
    calls = _calls(stream, record)
    dosage: NDArray[np.float64] | None = None
    ploidy = calls.ploidy if calls is not None else None
    if "DS" in fields:
        dosage = _floats(record, "DS")[:, 0]
    elif "HDS" in fields:
        parts = _floats(record, "HDS")
        dosage = np.where(np.isnan(parts[:, 0]), np.nan, np.nansum(parts, axis=1))
        if ploidy is None:
            ploidy = (~np.isnan(parts)).sum(axis=1)
    elif "GP" in fields:
        parts = _floats(record, "GP")
        number = np.arange(parts.shape[1])
        dosage = np.where(np.isnan(parts[:, 0]), np.nan, np.nansum(parts * number, axis=1))
        if ploidy is None:
            ploidy = np.maximum((~np.isnan(parts)).sum(axis=1) - 1, 0)
    elif calls is None:
        raise stream.error("none of FORMAT/DS, HDS, GP and GT", record)
    if dosage is None:
        assert calls is not None
        return calls
    outside = (dosage < -_TOLERANCE) | (dosage > 2 + _TOLERANCE)
    if outside.any():
        i = int(np.argmax(outside))
        what = f"dosage {dosage[i]:g} of sample {stream.samples[i]}"
        raise stream.error(what, record, ", expected 0 to 2")
    if ploidy is None:
        ploidy = np.zeros(dosage.size, np.int64)
    call = np.rint(dosage)
    if calls is not None:
        call = np.where(np.isnan(calls.call), call, calls.call)
        dosage = np.where(np.isnan(dosage), calls.dosage, dosage)
    return Genotypes(np.clip(dosage, 0, 2), call, ploidy)


def alt_count(stream: SiteStream, record: Record) -> tuple[int, int]:
    """Return the numbers of ALT alleles and of known alleles in a record's genotypes."""
    calls = read_calls(stream, record)
    known = ~np.isnan(calls.dosage)
    return int(calls.dosage[known].sum()), int(calls.ploidy[known].sum())


def _floats(record: Record, name: str) -> NDArray[np.float64]:
    """Return a FORMAT field as float64, NaN where missing or absent."""
    # htslib marks missing values by signalling NaNs; converting one raises the invalid flag.
    with np.errstate(invalid="ignore"):
        values: NDArray[np.float64] = np.array(record[-1].format(name), np.float64)
    return values
