"""Score imputed files against the truth: ``python -m snvrag.evaluate``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .config.command_line import Formatter, Parser, parse_bool
from .errors import InputError
from .evaluation.evaluation import evaluate_files
from .evaluation.report import report_lines, write_reports
from .evaluation.strata import MAF_EDGES


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
