"""Tables of samples and sites: populations, names, sites to score."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, unreadable
from ..panel.regions import plain_chrom


def read_sites(path: str | Path, argument: str = "sites") -> set[tuple[str, int, str, str]]:
    """Read chromosome, position, REF and ALT from tab-separated lines.

    Lines that begin with # are comments. Errors name ``argument``, by which the file was given.

    Returns
    -------
    set of (chrom, position, ref, alt)
        Chromosomes without ``chr``, alleles in upper case.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is not understood.
    """
    found = set()
    for number, line in enumerate(_read_lines(path, argument), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) < 4 or not fields[1].isdigit():
            raise InputError(
                f"line {number} must be chromosome, position, REF and ALT, separated by tabs, as "
                "'bcftools query -f \"%CHROM\\t%POS\\t%REF\\t%ALT\\n\"' writes them, "
                f"got {line[:40]}",
                argument=argument,
                path=path,
            )
        chrom, position, ref, alt = fields[:4]
        found.add((plain_chrom(chrom), int(position), ref.upper(), alt.strip().upper()))
    return found


def read_populations(
    path: str | Path, column: str, argument: str = "populations"
) -> dict[str, str]:
    """Return the populations of samples by name, read from a column of a table.

    It is tab-separated, with a header that has ``sample`` and the wanted column. Errors name
    ``argument``, by which the file was given.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or has a sample twice.
    """

    def refusal(message: str) -> InputError:
        return InputError(message, argument=argument, path=path)

    lines = _read_lines(path, argument)
    header = lines[0].lstrip("#").split("\t") if lines else []
    for name in ("sample", column):
        if name not in header:
            raise refusal(
                f"no column '{name}', found {', '.join(header) or 'none'}: the first line must "
                "name tab-separated columns, of which one can be chosen as that of the populations"
            )
    sample_at, population_at = header.index("sample"), header.index(column)
    table: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            raise refusal(f"line {number} has {len(fields)} columns, the header {len(header)}")
        if fields[sample_at] in table:
            raise refusal(f"duplicate sample {fields[sample_at]}")
        table[fields[sample_at]] = fields[population_at]
    return table


def read_names(path: str | Path, argument: str = "val_samples") -> list[str]:
    """Read names, one a line, without duplicates; InputError where there is none."""
    lines = _read_lines(path, argument)
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise InputError("no names", argument=argument, path=path)
    return names


def _read_lines(path: str | Path, argument: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error, argument) from error
