"""Genetic map files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..panel.genetic_map import GeneticMap
from ..panel.regions import plain_chrom


def read_genetic_map(path: str, chrom: str) -> GeneticMap:
    """Read a genetic map: PLINK's (chrom, id, cM, bp) or SHAPEIT's (bp, chrom, cM).

    Parameters
    ----------
    path : str
        Plain or gzipped. Columns are separated by white space; a header and lines of other
        chromosomes (``chr20`` and ``20`` are one) are passed over.
    chrom : str

    Raises
    ------
    InputError
        If the file cannot be read, a line is not understood, positions or cM descend, or the
        chromosome has fewer than two lines.
    """
    option = f"--genetic-map {path}"
    try:
        opener = gzip.open if _is_gzipped(path) else open
        with opener(path, "rt", encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{option}: cannot be read ({reason})") from error
    places: list[int] = []
    values: list[float] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        # The last column of both formats is a number, that of a header a word.
        if not fields or (number == 1 and not _is_number(fields[-1])):
            continue
        try:
            if len(fields) == 4:
                name, place, cm = fields[0], int(fields[3]), float(fields[2])
            elif len(fields) == 3:
                name, place, cm = fields[1], int(fields[0]), float(fields[2])
            else:
                raise ValueError
            if not (0 <= place < 2**63 and math.isfinite(cm)):
                raise ValueError
        except ValueError:
            raise InputError(
                f"{option}: line {number} is neither 'chrom id cM bp' nor 'bp chrom cM'"
            ) from None
        if plain_chrom(name) != plain_chrom(chrom):
            continue
        if places and (place < places[-1] or cm < values[-1]):
            raise InputError(f"{option}: line {number}: position or cM descends")
        places.append(place)
        values.append(cm)
    if len(places) < 2:
        raise InputError(f"{option}: {len(places)} lines of chromosome {chrom}, at least 2 needed")
    return GeneticMap(np.array(places, np.int64), np.array(values))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_gzipped(path: str) -> bool:
    with Path(path).open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
