"""Regions: a chromosome, or a range of positions on one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InputError

_LAST_POSITION = 2**62


def plain_chrom(name: str) -> str:
    """Return a chromosome's name without ``chr``: ``chr20`` and ``20`` are the same."""
    return name[3:] if name.lower().startswith("chr") and len(name) > 3 else name


class NoChromosomeError(InputError):
    """A file does not have the chromosome of a region."""


@dataclass(frozen=True)
class Region:
    """Positions ``first`` to ``last`` of a chromosome, 1-based and inclusive.

    Attributes
    ----------
    text : str
        The region as it was written.
    chrom : str
    first, last : int
        In bp.
    """

    text: str
    chrom: str
    first: int = 1
    last: int = _LAST_POSITION

    @classmethod
    def parse(cls, text: str) -> Region:
        """Parse ``chrom``, ``chrom:first``, ``chrom:first-`` or ``chrom:first-last``.

        Without ``last`` the region goes to the end of the chromosome, as in tabix. Numbers may have
        thousands separators (commas).
        """
        match = re.fullmatch(r"(.+):([\d,]+)(-([\d,]*))?", text)
        if match is None:
            return cls(text, text)
        first = int(match[2].replace(",", "") or 1)
        last = (match[4] or "").replace(",", "")
        return cls(text, match[1], first, int(last) if last else _LAST_POSITION)

    def holds(self, chrom: str, position: int) -> bool:
        """Return whether a position lies in the region; ``chr`` does not matter."""
        return self.first <= position <= self.last and plain_chrom(chrom) == plain_chrom(self.chrom)

    def with_flanks(self, flank_bp: int) -> Region:
        """Return the region extended on both sides; a whole chromosome is returned unchanged."""
        first, last = max(1, self.first - flank_bp), self.last
        if (self.first, self.last) == (1, _LAST_POSITION):
            return self
        if last != _LAST_POSITION:
            last += flank_bp
        text = f"{self.chrom}:{first}-{last if last != _LAST_POSITION else ''}"
        return Region(text, self.chrom, first, last)

    def within(self, path: str, chroms: Sequence[str]) -> Region:
        """Return the region under the name that a file has for its chromosome.

        ``chroms`` are those of the file; ``chr`` does not matter. Raises NoChromosomeError, which
        names ``path``, if the chromosome is not among them.
        """
        if self.chrom in chroms:
            return self
        for chrom in chroms:
            if plain_chrom(chrom) == plain_chrom(self.chrom):
                return replace(self, text=chrom + self.text.removeprefix(self.chrom), chrom=chrom)
        known = ", ".join(chroms[:5]) + (", ..." if len(chroms) > 5 else "")
        raise NoChromosomeError(
            f"must be on a chromosome of {path} ({known}), got {self.text}", argument="region"
        )
