"""Turn a reference panel into one file that opens at once: ``python -m snvrag.prepare``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .config.command_line import run_main
from .config.options import Options, option
from .errors import InputError, printable
from .io.prepare import prepare
from .io.reading import open_prepared

DESCRIPTION = (
    "Turn a reference panel into one file that opens at once, whatever its size; --panel of snvrag "
    "train and of snvrag impute takes it."
)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(Options):
    """Options of ``snvrag prepare``."""

    panel: str = option(help="phased VCF, BCF, HDF5 or VCF Zarr", positional=True)
    output: str | None = option(
        None, "prepared panel to write, for example panel.safetensors", positional=True
    )
    region: str | None = option(
        None, "prepare only this region, chrom or chrom:first-last (bp, 1-based)", metavar="REGION"
    )
    verify: bool = option(
        False, "write nothing, and compare a prepared panel with its checksums instead"
    )

    def check(self) -> None:
        """Require an output or ``verify``, and not both."""
        if self.verify == (self.output is not None):
            raise InputError("must be an output, or --verify without one", argument="output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_main("prepare", PrepareOptions, DESCRIPTION, _run, arguments)


def _run(options: PrepareOptions) -> None:
    if options.output is None:
        open_prepared(options.panel).verify()
        print(printable(f"{options.panel}: OK"))
        return
    panel, report = prepare(options.panel, options.output, region=options.region)
    written = f"{options.output}: {panel.num_haplotypes} haplotypes, {panel.num_sites} sites"
    print(printable(f"{report}; {written}"))


if __name__ == "__main__":
    sys.exit(main())
