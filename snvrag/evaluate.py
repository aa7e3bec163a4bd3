"""The command that scores imputed files against the truth: ``python -m snvrag.evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .config.command_line import run_main
from .errors import printable
from .evaluation.evaluation import evaluate_files
from .evaluation.options import EvaluateOptions
from .evaluation.report import report_lines, write_reports

DESCRIPTION = "Score imputed VCF or BCF files against the truth, all on the same genotypes."


def run(options: EvaluateOptions) -> None:
    """Print the tables of an evaluation and write its files."""
    evaluation = evaluate_files(options)
    for line in report_lines(evaluation):
        print(printable(line))
    sys.stdout.flush()
    if options.output is not None:
        print(printable("\n" + write_reports(Path(options.output), evaluation)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_main("evaluate", EvaluateOptions, DESCRIPTION, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
