"""Preparing a panel: any format in, one file out that opens at once."""

from __future__ import annotations

import os

from ..errors import InputError
from ..panel.panel import Panel
from .prepared import write_prepared
from .reading import collect_panel, open_haplotypes
from .records import ReadReport


def prepare(panel: str, output: str, *, region: str | None = None) -> tuple[Panel, ReadReport]:
    """Read a panel in any format and write it as a prepared panel.

    ``panel`` and ``region`` are as in `open_haplotypes`; an existing output is replaced. Returns
    the panel that was written, and what became of the records read. Raises InputError if the panel
    cannot be read, or the output is the panel itself or cannot be written.
    """
    reader = open_haplotypes(panel, region=region)
    if os.path.exists(output) and os.path.samefile(panel, output):
        raise InputError("is the panel itself: give another name", argument="output", path=output)
    ids: list[str] = []
    content = collect_panel(reader, on_block=lambda block: ids.extend(block.ids))
    write_prepared(output, content, ids, reader.contig_length)
    return content, reader.report
