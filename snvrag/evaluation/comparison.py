"""Comparison of imputed files with the truth, read side by side."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.genotypes import Alleles, Genotypes, SiteStream, alt_count, read_calls, read_dosages
from ..io.records import listed
from ..panel.regions import plain_chrom
from .accuracy import Accuracy
from .strata import Strata

_SITES_AT_ONCE = 256


class _Site(NamedTuple):
    """A site to score, with the genotypes of all samples of each file."""

    maf: float
    alt_is_major: bool
    true: Genotypes
    imputed: list[Genotypes]


class Comparison:
    """Scores imputed files on the genotypes that the truth and all of them have.

    Parameters
    ----------
    panel : SiteStream or None
        Without it, frequencies are those of the truth.
    sites : set of (chromosome, position, REF, ALT), or None
        Score these alone.
    exclude_typed : bool
        Leave out sites that an imputed file has as typed.

    Attributes
    ----------
    accuracies : dict
        `Accuracy` of each imputed file by name, after `run`.
    num_samples, num_scored : int
        Samples in common; sites scored.

    Raises
    ------
    InputError
        If no sample is in all of the files.
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
            paths = ", ".join(stream.path for stream in imputed.values())
            raise self._error(f"no sample in common with {paths}")
        self.num_samples = len(shared)
        self.columns = [np.array([column[name] for name in shared]) for column in columns]
        self.accuracies = {name: Accuracy(len(shared), strata) for name in imputed}
        self.num_scored = 0
        self.num_not_in_truth: Counter[SiteStream] = Counter()
        self.left_out: Counter[str] = Counter()
        self.num_unknown_genotypes = 0
        self.without_typed_flags: set[str] = set()

    def run(self) -> None:
        """Score every site.

        Raises
        ------
        InputError
            If a file is damaged, unsorted or of another chromosome, or no site is left to score.
        """
        sites = self._scored_sites()
        while block := list(islice(sites, _SITES_AT_ONCE)):
            self._score(block)
        if not self.num_scored:
            reasons = listed(self.left_out) or "no site in it"
            raise self._error(f"no site left to score ({reasons})")

    def _scored_sites(self) -> Iterator[_Site]:
        """Yield the sites to score; count the others."""
        truth = self.truth
        others = [*self.imputed.values(), *([self.panel] if self.panel else [])]
        truth.advance()
        for stream in others:
            stream.advance()
            self._check_chrom(stream)
        while not truth.at_end:
            for stream in others:
                if not stream.at_end and stream.position < truth.position:
                    self.num_not_in_truth[stream] += len(stream.records)
                    self.num_not_in_truth[stream] += stream.advance(truth.position)
                if not stream.at_end and stream.position == truth.position:
                    num_others = len(stream.records.keys() - truth.records.keys())
                    self.num_not_in_truth[stream] += num_others
            for alleles in truth.records:
                reason = self._reason_to_leave_out(alleles)
                if reason is None:
                    site = self._read(alleles)
                    if site is not None:
                        yield site
                        continue
                    reason = "with no known genotype or frequency"
                self.left_out[reason] += 1
            for stream in others:
                if stream.position == truth.position:
                    stream.advance()
            truth.advance()
        for stream in others:
            self.num_not_in_truth[stream] += len(stream.records) + stream.advance(sys.maxsize)

    def _error(self, message: str) -> InputError:
        return InputError(message, argument="truth", path=self.truth.path)

    def _check_chrom(self, stream: SiteStream) -> None:
        if stream.chrom and plain_chrom(stream.chrom) != plain_chrom(self.truth.chrom):
            problem = f"chromosome {stream.chrom}, the truth has {self.truth.chrom or 'none'}"
            message = f"{problem}: choose a region"
            raise InputError(message, argument=stream.argument, path=stream.path)

    def _reason_to_leave_out(self, alleles: Alleles) -> str | None:
        position = self.truth.position
        site = (plain_chrom(self.truth.chrom), position, *alleles)
        if self.sites is not None and site not in self.sites:
            return "not in the list of sites"
        if self.panel is not None and not _has(self.panel, position, alleles):
            return "not in the panel"
        for name, stream in self.imputed.items():
            if not _has(stream, position, alleles):
                return f"not in {name}"
        if self.exclude_typed:
            for name, stream in self.imputed.items():
                typed = stream.is_typed(stream.records[alleles])
                if typed is None:
                    self.without_typed_flags.add(name)
                elif typed:
                    return "typed"
        return None

    def _read(self, alleles: Alleles) -> _Site | None:
        true = read_calls(self.truth, self.truth.records[alleles])
        reference = self.panel or self.truth
        num_alt, num_known = alt_count(reference, reference.records[alleles])
        if num_known == 0 or np.isnan(true.dosage[self.columns[0]]).all():
            return None
        maf = min(num_alt, num_known - num_alt) / num_known
        imputed = [read_dosages(s, s.records[alleles]) for s in self.imputed.values()]
        return _Site(maf, 2 * num_alt > num_known, true, imputed)

    def _score(self, block: list[_Site]) -> None:
        maf = np.array([site.maf for site in block])
        alt_is_major = np.array([site.alt_is_major for site in block])
        true = _stacked([site.true for site in block], self.columns[0])
        ploidy = true.ploidy
        scaled = []
        for i, columns in enumerate(self.columns[1:]):
            imputed = _stacked([site.imputed[i] for site in block], columns)
            own_ploidy = np.where(imputed.ploidy == 0, ploidy, imputed.ploidy)
            scale = np.where(ploidy == own_ploidy, 1.0, ploidy / np.maximum(own_ploidy, 1))
            dosage = np.minimum(imputed.dosage * scale, ploidy)
            scaled.append((dosage, np.rint(imputed.call * scale)))
        unknown = np.isnan(true.dosage) | np.any([np.isnan(dosage) for dosage, _ in scaled], axis=0)
        self.num_unknown_genotypes += int(unknown.sum())
        truth = np.where(unknown, np.nan, true.dosage)
        for accuracy, (dosage, call) in zip(self.accuracies.values(), scaled, strict=True):
            accuracy.update(truth, dosage, call, ploidy.astype(np.float64), maf, alt_is_major)
        self.num_scored += len(block)

    def notes(self) -> Iterator[str]:
        """Yield lines that say what was read, and what was left out and why."""
        yield self._description(self.truth, has_samples_in_common=True)
        for name, stream in self.imputed.items():
            yield f"{name}: " + self._description(stream, has_samples_in_common=True)
        if self.panel is not None:
            yield "frequencies: " + self._description(self.panel, has_samples_in_common=False)
        yield f"scored: {self.num_scored} sites, {self.num_samples} samples" + (
            f"; left out: {listed(self.left_out)}" if self.left_out else ""
        )
        if self.num_unknown_genotypes:
            yield (
                f"{self.num_unknown_genotypes} genotypes at these sites left out: missing in the "
                "truth or in one of the imputed files"
            )
        for name in sorted(self.without_typed_flags):
            yield (
                f"note: {name} does not tell typed from imputed sites (INFO TYPED, IMP or IMPUTED):"
                " all count as imputed"
            )

    def _description(self, stream: SiteStream, *, has_samples_in_common: bool) -> str:
        text = f"{stream.path}: {stream.num_records} records, {len(stream.samples)} samples"
        parts = [listed(stream.dropped)] if stream.dropped else []
        if num_skipped := self.num_not_in_truth[stream]:
            parts.append(f"{num_skipped} not in the truth")
        num_others = len(stream.samples) - self.num_samples
        if has_samples_in_common and num_others:
            parts.append(f"{num_others} samples not in every file")
        return text + ("; left out: " + ", ".join(parts) if parts else "")


def _stacked(genotypes: list[Genotypes], columns: NDArray[np.int64]) -> Genotypes:
    """Return the genotypes of some samples at several sites, each part (sites, samples)."""
    parts = ("dosage", "call", "ploidy")
    return Genotypes(*(np.stack([getattr(g, p) for g in genotypes])[:, columns] for p in parts))


def _has(stream: SiteStream, position: int, alleles: Alleles) -> bool:
    return stream.position == position and alleles in stream.records
