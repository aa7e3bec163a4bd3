"""Regions: a chromosome, or a part of one, as ``--region`` names it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError

_LAST_POSITION = 2**62


def plain_chrom(name: str) -> str:
    """Return a chromosome's name without ``chr``: ``chr20`` and ``20`` are one."""
    return name[3:] if name.lower().startswith("chr") and len(name) > 3 else name


class NoChromosomeError(InputError):
    """A region's chromosome is none of a file's."""


@dataclass(frozen=True)
class Region:
    """Positions ``first`` to ``last`` of a chromosome, 1-based and inclusive.

    Attributes
    ----------
    text : str
        As it was written.
    chrom : str
    first, last : int
    """

    text: str
    chrom: str
    first: int = 1
    last: int = _LAST_POSITION

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read ``chrom``, ``chrom:first``, ``chrom:first-`` or ``chrom:first-last``.

        One number alone means from there to the end, as in tabix; numbers may have commas.
        """
        match = re.fullmatch(r"(.+):([\d,]+)(-([\d,]*))?", text)
        if match is None:
            return cls(text, text)
        first = int(match[2].replace(",", "") or 1)
        last = (match[4] or "").replace(",", "")
        return cls(text, match[1], first, int(last) if last else _LAST_POSITION)

    def holds(self, chrom: str, position: int) -> bool:
        """Tell whether a position lies in the region, with or without ``chr``."""
        return self.first <= position <= self.last and plain_chrom(chrom) == plain_chrom(self.chrom)

    def widened(self, flank_bp: int) -> Region:
        """Return the region with so much more on each side; a whole chromosome stays what it is."""
        first, last = max(1, self.first - flank_bp), self.last
        if (self.first, self.last) == (1, _LAST_POSITION):
            return self
        if last != _LAST_POSITION:
            last += flank_bp
        text = f"{self.chrom}:{first}-{last if last != _LAST_POSITION else ''}"
        return Region(text, self.chrom, first, last)

    def within(self, path: str, chroms: Sequence[str]) -> Region:
        """Return the region as a file with these chromosomes names it, with or without ``chr``.

        Raises
        ------
        NoChromosomeError
            If it has none of that name.
        """
        if self.chrom in chroms:
            return self
        for chrom in chroms:
            if plain_chrom(chrom) == plain_chrom(self.chrom):
                return replace(self, text=chrom + self.text.removeprefix(self.chrom), chrom=chrom)
        raise NoChromosomeError(
            f"--region {self.text}: {path} has no chromosome {self.chrom} (it has "
            f"{', '.join(chroms[:5])}{', ...' if len(chroms) > 5 else ''})"
        )
