"""Tables of samples and sites: populations, names, sites to score."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..panel.panel import _reason
from ..panel.regions import plain_chrom


def read_sites(path: str | Path) -> set[tuple[str, int, str, str]]:
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


def read_populations(path: str | Path, column: str) -> dict[str, str]:
    """Read a table of samples: tab-separated, a header with ``sample`` and the wanted column.

    Returns
    -------
    dict
        Population name by sample name.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or names a sample twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--populations {path}: cannot be read ({_reason(error)})") from error
    header = lines[0].lstrip("#").split("\t") if lines else []
    for name in ("sample", column):
        if name not in header:
            raise InputError(
                f"--populations {path}: no column '{name}' (found: {', '.join(header) or 'none'}); "
                "the first line must name tab-separated columns, see --population-column"
            )
    sample_at, population_at = header.index("sample"), header.index(column)
    table: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            raise InputError(
                f"--populations {path}: line {number} has {len(fields)} columns, "
                f"the header {len(header)}"
            )
        if fields[sample_at] in table:
            raise InputError(f"--populations {path}: sample {fields[sample_at]} stands twice")
        table[fields[sample_at]] = fields[population_at]
    return table


def _read_names(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--val-samples {path}: cannot be read ({reason})") from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise InputError(f"--val-samples {path}: no names")
    return names
