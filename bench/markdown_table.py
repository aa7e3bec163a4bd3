"""Writes Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, num_text: int = 1
) -> str:
    """Return a table whose columns are aligned to the right, except for the first ``num_text``."""
    alignment = ["---" if i < num_text else "---:" for i in range(len(titles))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, alignment, *rows))
