"""Score imputed files against the truth: ``python -m snvrag.evaluate``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .accuracy import MAF_EDGES, Strata, resamples
from .command_line import Formatter, Parser, parse_bool
from .comparison import Comparison, read_sites
from .dosages import SiteStream
from .errors import InputError
from .evaluation_report import report_lines, write_reports


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
    true = SiteStream("--truth", truth, region)
    comparison = Comparison(
        true,
        {name: SiteStream("--imputed", path, region) for name, path in imputed.items()},
        SiteStream("--panel", panel, region) if panel else None,
        read_sites(sites) if sites else None,
        exclude_typed if exclude_typed is not None else sites is None,
        Strata(maf_edges),
    )
    with true.quiet():
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


def build_parser() -> Parser:
    """Return the command line of ``python -m snvrag.evaluate``."""
    parser = Parser(
        prog="python -m snvrag.evaluate",
        description="Score imputed VCF or BCF files against the truth, all on the same genotypes.",
        formatter_class=Formatter,
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
        type=parse_bool,
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
    sys.stdout.flush()
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
    except BrokenPipeError:  # whoever read the tables has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
