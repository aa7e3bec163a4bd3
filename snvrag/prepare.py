"""The command line that prepares a panel: ``python -m snvrag.prepare PANEL OUTPUT``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .config.command_line import Parser
from .errors import InputError, printable

from .io.prepared import write_prepared
from .io.reading import collect_panel, open_haplotypes, open_prepared


def prepare(source: str, output: str, *, region: str | None = None) -> str:
    """Read a panel in any format and write it as a prepared one; return a line that tells how.

    Raises
    ------
    InputError
        If the panel cannot be read, or the output not be written.
    """
    reader = open_haplotypes(source, region=region)
    ids: list[str] = []
    panel = collect_panel(reader, on_block=lambda block: ids.extend(block.ids))
    if os.path.exists(output) and os.path.samefile(source, output):
        raise InputError(f"{output}: is the panel itself: give the output another name")
    write_prepared(output, panel, ids, reader.contig_length)
    return f"{reader.report}; {output}: {panel.num_haplotypes} haplotypes, {panel.num_sites} sites"


def build_parser() -> Parser:
    """Return the command line of ``python -m snvrag.prepare``."""
    parser = Parser(
        prog="python -m snvrag.prepare",
        description="Turn a reference panel into one file that opens at once, whatever its size; "
        "--panel of snvrag.train and of snvrag.impute takes it.",
    )
    parser.add_argument("panel", help="phased VCF, BCF, HDF5 or VCF Zarr")
    parser.add_argument("output", nargs="?", help="the prepared panel, e.g. panel.safetensors")
    parser.add_argument(
        "--region", help="only this region, chrom or chrom:first-last (bp, 1-based)"
    )
    parser.add_argument(
        "--verify", action="store_true",
        help="write nothing; compare a prepared panel with its checksums",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    if given.verify == (given.output is not None):
        parser.error("give an output, or --verify and a prepared panel alone")
    try:
        if given.verify:
            open_prepared(given.panel).verify()
            print(printable(f"{given.panel}: whole"))
        else:
            print(printable(prepare(given.panel, given.output, region=given.region)))
    except InputError as error:
        print(f"snvrag.prepare: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("snvrag.prepare: interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
