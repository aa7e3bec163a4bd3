"""Truth and imputed files walked through side by side, site by site."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..io.genotypes import (
    Alleles,
    Genotypes,
    SiteStream,
    alt_count,
    read_calls,
    read_dosages,
)
from ..io.records import Record
from ..panel.regions import plain_chrom
from .accuracy import Accuracy, Strata

_SITES_AT_ONCE = 256


class _Site(NamedTuple):
    """A site to score, with the genotypes of all samples of each file."""

    maf: float
    flipped: bool
    true: Genotypes
    imputed: list[Genotypes]


class Comparison:
    """Scores imputed files on the genotypes that the truth and all of them have.

    Parameters
    ----------
    truth, imputed, panel
        The files, the imputed ones by name; without a panel, frequencies are those of the truth.
    sites : set of (chromosome, position, REF, ALT), optional
        Score these alone.
    exclude_typed : bool
        Leave out sites that an imputed file has as typed.
    strata : Strata

    Attributes
    ----------
    accuracies : dict
        `Accuracy` of each imputed file by name, after `run`.
    num_samples, num_scored : int
        Samples in common; sites scored.
    """

    def __init__(
        self,
        truth: SiteStream,
        imputed: dict[str, SiteStream],
        panel: SiteStream | None,
        sites: set[tuple[str, int, str, str]] | None,
        exclude_typed: bool,
        strata: Strata,
    ) -> None:
        self.truth, self.imputed, self.panel = truth, imputed, panel
        self.sites, self.exclude_typed, self.strata = sites, exclude_typed, strata
        columns = [
            {name: i for i, name in enumerate(stream.samples)}
            for stream in (truth, *imputed.values())
        ]
        shared = [name for name in truth.samples if all(name in column for column in columns)]
        if not shared:
            raise InputError(
                f"--truth {truth.path}: no sample in common with "
                + ", ".join(stream.path for stream in imputed.values())
            )
        self.num_samples = len(shared)
        self.columns = [np.array([column[name] for name in shared]) for column in columns]
        self.accuracies = {name: Accuracy(len(shared), strata) for name in imputed}
        self.num_scored = 0
        self.num_skipped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.num_unknown_genotypes = 0
        self.untold: set[str] = set()

    def run(self) -> None:
        """Score every site."""
        block: list[_Site] = []
        for site in self._scored_sites():
            block.append(site)
            if len(block) == _SITES_AT_ONCE:
                self._score(block)
                block = []
        if block:
            self._score(block)
        if not self.num_scored:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.left_out.most_common())
            raise InputError(
                f"--truth {self.truth.path}: no site left to score ({reasons or 'no site in it'})"
            )

    def _scored_sites(self) -> Iterator[_Site]:
        """Yield the sites to score; count the others."""
        truth = self.truth
        others = dict(self.imputed)
        if self.panel is not None:
            others["--panel"] = self.panel
        truth.advance()
        for stream in others.values():
            stream.advance()
            if stream.chrom and plain_chrom(stream.chrom) != plain_chrom(truth.chrom):
                raise stream.error(
                    f"chromosome {stream.chrom}, the truth has {truth.chrom or 'none'}: choose a "
                    "region"
                )
        while not truth.at_end:
            for name, stream in others.items():
                if not stream.at_end and stream.position < truth.position:
                    self.num_skipped[name] += len(stream.records)
                    self.num_skipped[name] += stream.advance(truth.position)
                if not stream.at_end and stream.position == truth.position:
                    self.num_skipped[name] += len(stream.records.keys() - truth.records.keys())
            for alleles, record in truth.records.items():
                reason = self._reason_to_leave_out(alleles)
                if reason is None:
                    site = self._read(alleles, record)
                    if site is not None:
                        yield site
                        continue
                    reason = "with no known genotype or frequency"
                self.left_out[reason] += 1
            for stream in others.values():
                if stream.position == truth.position:
                    stream.advance()
            truth.advance()
        for name, stream in others.items():
            self.num_skipped[name] += len(stream.records) + stream.advance(sys.maxsize)

    def _reason_to_leave_out(self, alleles: Alleles) -> str | None:
        position = self.truth.position
        if self.sites is not None:
            key = (plain_chrom(self.truth.chrom), position, *alleles)
            if key not in self.sites:
                return "not in --sites"
        if self.panel is not None and not _has(self.panel, position, alleles):
            return "not in --panel"
        for name, stream in self.imputed.items():
            if not _has(stream, position, alleles):
                return f"not in {name}"
        if self.exclude_typed:
            for name, stream in self.imputed.items():
                typed = stream.is_typed(stream.records[alleles])
                if typed is None:
                    self.untold.add(name)
                elif typed:
                    return "typed"
        return None

    def _read(self, alleles: Alleles, record: Record) -> _Site | None:
        true = read_calls(self.truth, record)
        if self.panel is not None:
            num_alt, num_known = alt_count(self.panel, self.panel.records[alleles])
        else:
            num_alt, num_known = alt_count(self.truth, record)
        if num_known == 0 or np.isnan(true.dosage[self.columns[0]]).all():
            return None
        maf = min(num_alt, num_known - num_alt) / num_known
        imputed = [
            read_dosages(stream, stream.records[alleles]) for stream in self.imputed.values()
        ]
        return _Site(maf, 2 * num_alt > num_known, true, imputed)

    def _score(self, block: list[_Site]) -> None:
        maf = np.array([site.maf for site in block])
        flipped = np.array([site.flipped for site in block])
        truth = np.stack([site.true.dosage for site in block])[:, self.columns[0]]
        ploidy = np.stack([site.true.ploidy for site in block])[:, self.columns[0]]
        every = []
        for i, column in enumerate(self.columns[1:]):
            dosage, call, own = (
                np.stack([getattr(site.imputed[i], name) for site in block])[:, column]
                for name in ("dosage", "call", "ploidy")
            )
            own = np.where(own == 0, ploidy, own)
            scale = np.where(ploidy == own, 1.0, ploidy / np.maximum(own, 1))
            every.append((np.minimum(dosage * scale, ploidy), np.rint(call * scale)))
        unknown = np.isnan(truth) | np.any([np.isnan(dosage) for dosage, _ in every], axis=0)
        self.num_unknown_genotypes += int(unknown.sum())
        truth = np.where(unknown, np.nan, truth)
        for accuracy, (dosage, call) in zip(self.accuracies.values(), every, strict=True):
            accuracy.update(truth, dosage, call, ploidy.astype(np.float64), maf, flipped)
        self.num_scored += len(block)

    def notes(self) -> Iterator[str]:
        """Yield lines that tell what was read and left out."""
        yield _describe(self.truth, self.num_samples, None)
        for name, stream in self.imputed.items():
            yield f"{name}: " + _describe(stream, self.num_samples, self.num_skipped[name])
        if self.panel is not None:
            yield "frequencies: " + _describe(self.panel, None, self.num_skipped["--panel"])
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.most_common())
        yield f"scored: {self.num_scored} sites, {self.num_samples} samples" + (
            f"; left out: {reasons}" if reasons else ""
        )
        if self.num_unknown_genotypes:
            yield (
                f"{self.num_unknown_genotypes} genotypes at these sites left out: missing in the "
                "truth or in one of the imputed files"
            )
        for name in sorted(self.untold):
            yield (
                f"note: {name} does not tell typed from imputed sites (INFO TYPED, IMP or IMPUTED):"
                " all count as imputed"
            )


def _has(stream: SiteStream, position: int, alleles: Alleles) -> bool:
    return stream.position == position and alleles in stream.records


def _describe(stream: SiteStream, num_shared: int | None, num_skipped: int | None) -> str:
    text = f"{stream.path}: {stream.num_records} records, {len(stream.samples)} samples"
    parts = [f"{count} {reason}" for reason, count in stream.dropped.most_common()]
    if num_skipped:
        parts.append(f"{num_skipped} not in the truth")
    if num_shared is not None and num_shared < len(stream.samples):
        parts.append(f"{len(stream.samples) - num_shared} samples not in every file")
    return text + ("; left out: " + ", ".join(parts) if parts else "")
