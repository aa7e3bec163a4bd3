"""Reading genetic map files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError, unreadable
from ..panel.genetic_map import GeneticMap
from ..panel.regions import plain_chrom


def read_genetic_map(path: str, chrom: str, argument: str = "genetic_map") -> GeneticMap:
    """Read a genetic map: PLINK's (chrom, id, cM, bp) or SHAPEIT's (bp, chrom, cM).

    The file is plain or gzipped, its columns separated by white space. A header and the lines of
    other chromosomes, named with or without ``chr``, are skipped. Errors name ``argument``, by
    which the file was given.

    Raises
    ------
    InputError
        If the file cannot be read, a line is not understood, positions or cM descend, or the
        chromosome has fewer than two lines.
    """

    def refusal(message: str) -> InputError:
        return InputError(message, argument=argument, path=path)

    try:
        content = Path(path).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        lines = content.decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise unreadable(path, error, argument) from error
    position: list[int] = []
    cm: list[float] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        # The last column of both formats is a number, that of a header a word.
        if not fields or (number == 1 and not _is_number(fields[-1])):
            continue
        try:
            name, place, value = _parse(fields)
        except ValueError:
            raise refusal(f"line {number} is neither 'chrom id cM bp' nor 'bp chrom cM'") from None
        if plain_chrom(name) != plain_chrom(chrom):
            continue
        if position and (place < position[-1] or value < cm[-1]):
            raise refusal(f"line {number}: position or cM descends")
        position.append(place)
        cm.append(value)
    if len(position) < 2:
        raise refusal(f"{len(position)} lines of chromosome {chrom}, expected 2 or more")
    return GeneticMap(np.array(position, np.int64), np.array(cm))


def _parse(fields: list[str]) -> tuple[str, int, float]:
    """Return chromosome, position in bp and cM of a line; ValueError if it has none."""
    if len(fields) == 4:
        name, _, cm_text, position_text = fields
    elif len(fields) == 3:
        position_text, name, cm_text = fields
    else:
        raise ValueError
    position, cm = int(position_text), float(cm_text)
    if not (0 <= position < 2**63 and math.isfinite(cm)):
        raise ValueError
    return name, position, cm


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
