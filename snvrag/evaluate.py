"""Score imputed files against the truth: ``python -m snvrag.evaluate``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .accuracy import MAF_EDGES, Accuracy, Strata, resamples
from .config import _Formatter, _parse_bool, _Parser
from .dosages import (
    Alleles,
    Genotypes,
    SiteStream,
    alt_count,
    plain_chrom,
    read_calls,
    read_dosages,
)
from .errors import InputError
from .evaluation_report import report_lines, write_reports
from .vcf import _quiet_htslib

_SITES_AT_ONCE = 256


@dataclass(frozen=True)
class Evaluation:
    """What came out, for every imputed file by name.

    Attributes
    ----------
    strata : Strata
        What the rows of the measures are.
    measures : dict of dict
        By file and measure: (T,) float64 over the strata (`Accuracy.compute`).
    intervals : dict of dict
        By file and measure: (2, T) float64, 95% bootstrap intervals over samples; empty without
        resamples.
    calibration : dict of list
        By file (`Accuracy.calibration`).
    num_sites, num_samples : int
        Scored.
    notes : tuple of str
        What was read, and what was left out and why.
    """

    strata: Strata
    measures: dict[str, dict[str, NDArray[np.float64]]]
    intervals: dict[str, dict[str, NDArray[np.float64]]]
    calibration: dict[str, list[dict[str, float]]]
    num_sites: int
    num_samples: int
    notes: tuple[str, ...]


def evaluate_files(
    truth: str | Path,
    imputed: Mapping[str, str | Path],
    *,
    panel: str | Path | None = None,
    sites: str | Path | None = None,
    region: str | None = None,
    exclude_typed: bool | None = None,
    maf_edges: Sequence[float] = MAF_EDGES,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score imputed files on the genotypes that the truth and all of them have.

    Sites meet by chromosome (with or without ``chr``), position, REF and ALT; samples by name. All
    files are scored on the same genotypes: those at biallelic sites that every file has, and, by
    default, that none of them has as typed (`SiteStream.is_typed`).

    Parameters
    ----------
    truth : str or Path
        VCF or BCF with FORMAT/GT, diploid or haploid.
    imputed : mapping
        VCF or BCF by name, with FORMAT/DS, HDS, GP or GT.
    panel : str or Path, optional
        Take allele frequencies from these genotypes, and leave out sites that it lacks. By default
        they are those of the truth's own samples.
    sites : str or Path, optional
        Score these alone: tab-separated lines of chromosome, position, REF and ALT.
    region : str, optional
        ``chrom`` or ``chrom:first-last``; the files need indexes.
    exclude_typed : bool, optional
        By default True without ``sites``, False with them.
    maf_edges : sequence of float
        See `Strata`.
    num_resamples, seed : int
        Of the bootstrap over samples; 0 for none.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        For a file that cannot be read, and if nothing is left to score.

    Notes
    -----
    Files are read once, side by side: memory holds 256 sites and sums for each sample, however many
    sites there are.
    """
    if not imputed:
        raise InputError("--imputed must be given at least once")
    with _quiet_htslib():
        comparison = _Comparison(
            SiteStream("--truth", truth, region),
            {name: SiteStream("--imputed", path, region) for name, path in imputed.items()},
            SiteStream("--panel", panel, region) if panel else None,
            _read_sites(sites) if sites else None,
            exclude_typed if exclude_typed is not None else sites is None,
            Strata(maf_edges),
        )
        comparison.run()
    accuracies = comparison.accuracies
    weights = resamples(comparison.num_samples, num_resamples, seed)
    return Evaluation(
        comparison.strata,
        {name: accuracy.compute() for name, accuracy in accuracies.items()},
        {name: accuracy.bootstrap(weights) if num_resamples else {}
         for name, accuracy in accuracies.items()},
        {name: accuracy.calibration() for name, accuracy in accuracies.items()},
        comparison.num_scored,
        comparison.num_samples,
        tuple(comparison.notes()),
    )  # fmt: skip


class _Comparison:
    """The files, walked through side by side."""

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
        block: list[tuple[float, bool, Genotypes, list[Genotypes]]] = []
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

    def _scored_sites(self) -> Iterator[tuple[float, bool, Genotypes, list[Genotypes]]]:
        """Yield MAF, whether ALT is the major allele, the true and the imputed genotypes."""
        truth = self.truth
        others = dict(self.imputed)
        if self.panel is not None:
            others["--panel"] = self.panel
        truth.advance()
        for stream in others.values():
            stream.advance()
            if stream.chrom and plain_chrom(stream.chrom) != plain_chrom(truth.chrom):
                raise InputError(
                    f"{stream.option} {stream.path}: chromosome {stream.chrom}, the truth has "
                    f"{truth.chrom or 'none'}: choose one by --region"
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

    def _read(
        self, alleles: Alleles, record: Any
    ) -> tuple[float, bool, Genotypes, list[Genotypes]] | None:
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
        return maf, 2 * num_alt > num_known, true, imputed

    def _score(self, block: list[tuple[float, bool, Genotypes, list[Genotypes]]]) -> None:
        maf = np.array([site[0] for site in block])
        flipped = np.array([site[1] for site in block])
        truth = np.stack([site[2].dosage for site in block])[:, self.columns[0]]
        ploidy = np.stack([site[2].ploidy for site in block])[:, self.columns[0]]
        every = []
        for i, column in enumerate(self.columns[1:]):
            dosage, call, own = (
                np.stack([getattr(site[3][i], name) for site in block])[:, column]
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


def _read_sites(path: str | Path) -> set[tuple[str, int, str, str]]:
    """Read chromosome, position, REF and ALT from tab-separated lines; # begins a comment."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--sites {path}: cannot be read ({reason})") from error
    found = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) < 4 or not fields[1].isdigit():
            raise InputError(
                f"--sites {path}: line {number} must be chromosome, position, REF and ALT, "
                "separated by tabs, as 'bcftools query -f \"%CHROM\\t%POS\\t%REF\\t%ALT\\n\"' "
                f"writes them, got {line[:40]}"
            )
        chrom, position, ref, alt = fields[:4]
        found.add((plain_chrom(chrom), int(position), ref.upper(), alt.strip().upper()))
    return found


def _named(arguments: Sequence[str]) -> dict[str, str]:
    """Return files by name: NAME=FILE, or FILE by the part of its name before the first dot."""
    files: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or "/" in name:
            name, path = Path(argument).name.split(".")[0], argument
        if not name or not path:
            raise InputError(f"--imputed must be FILE or NAME=FILE, got {argument}")
        if name in files:
            raise InputError(f"--imputed {argument}: two files called {name}: give NAME=FILE")
        files[name] = path
    return files


def build_parser() -> _Parser:
    """Return the command line of ``python -m snvrag.evaluate``."""
    parser = _Parser(
        prog="python -m snvrag.evaluate",
        description="Score imputed VCF or BCF files against the truth, all on the same genotypes.",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--truth", metavar="FILE", required=True, help="true genotypes (FORMAT/GT)")
    add(
        "--imputed",
        metavar="[NAME=]FILE",
        required=True,
        action="append",
        help="imputed file (FORMAT/DS, else HDS, GP, GT); may be given several times",
    )
    add(
        "--panel",
        metavar="FILE",
        default=None,
        help="take allele frequencies from this file (default: from the truth)",
    )
    add(
        "--sites",
        metavar="FILE",
        default=None,
        help="score only these: tab-separated chromosome, position, REF, ALT (default: all)",
    )
    add(
        "--exclude-typed",
        metavar="yes|no",
        type=_parse_bool,
        default=None,
        help="leave out sites that an imputed file has as typed: INFO TYPED, or no IMP or IMPUTED "
        "where the header declares it (default: yes, with --sites no)",
    )
    add(
        "--region",
        metavar="REGION",
        default=None,
        help="read only this region, chrom or chrom:first-last (bp, 1-based); needs indexes "
        "(default: all)",
    )
    add(
        "--maf-edges",
        metavar="X",
        type=float,
        nargs="+",
        default=list(MAF_EDGES),
        help=f"edges of the MAF bins (default: {' '.join(f'{edge:g}' for edge in MAF_EDGES)})",
    )
    add(
        "--bootstrap",
        metavar="N",
        type=int,
        default=1000,
        help="resamples of the samples for 95%% intervals; 0: none (default: 1000)",
    )
    add("--seed", metavar="N", type=int, default=0, help="of the resamples (default: 0)")
    add(
        "--output",
        metavar="FOLDER",
        default=None,
        help="write metrics.tsv, calibration.tsv, metrics.json and accuracy.png here "
        "(default: none)",
    )
    return parser  # fmt: skip


def run(arguments: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says: print the tables and write the files."""
    options = build_parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    for name in ("bootstrap", "seed"):
        if getattr(options, name) < 0:
            raise InputError(f"--{name} must be at least 0, got {getattr(options, name)}")
    evaluation = evaluate_files(
        options.truth,
        _named(options.imputed),
        panel=options.panel,
        sites=options.sites,
        region=options.region,
        exclude_typed=options.exclude_typed,
        maf_edges=options.maf_edges,
        num_resamples=options.bootstrap,
        seed=options.seed,
    )
    for line in report_lines(evaluation):
        print(line)
    if options.output is not None:
        try:
            print(f"\n{write_reports(Path(options.output), evaluation)}")
        except OSError as error:
            place = error.filename or options.output
            raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        run(arguments)
    except InputError as error:
        print(f"snvrag.evaluate: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("snvrag.evaluate: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
