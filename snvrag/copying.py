"""The Li-Stephens model: what the haplotypes carry that a haplotype is a mosaic of."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .kernels import li_stephens_dosage
from .panel import Panel
from .regions import plain_chrom

DEFAULT_CM_PER_MB = 1.0
# Share of a genetic map in the distances of the model, the rest being even along the chromosome. A
# map's cold spots are not as cold for every pair of haplotypes: on held-out samples half of it did
# better than all of it, and than none, at every frequency.
_MAP_SHARE = 0.5


@dataclass(frozen=True)
class GeneticMap:
    """Genetic positions along one chromosome.

    Attributes
    ----------
    position : (n,) int64
        In bp, ascending.
    cm : (n,) float64
        In centimorgans, ascending.
    """

    position: NDArray[np.int64]
    cm: NDArray[np.float64]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the map, in hex."""
        return hashlib.sha256(self.position.tobytes() + self.cm.tobytes()).hexdigest()

    def at(self, position: NDArray[np.int64]) -> NDArray[np.float64]:
        """Interpolate linearly; beyond the map's ends, 1 cM a Mb from there on."""
        inside = np.interp(position, self.position, self.cm)
        beyond = np.minimum(position - self.position[0], 0) + np.maximum(
            position - self.position[-1], 0
        )
        cm: NDArray[np.float64] = inside + beyond * (DEFAULT_CM_PER_MB * 1e-6)
        return cm


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


class CopyingModel:
    """Probabilities of ALT by the Li-Stephens model, one for each of C effective population sizes.

    A haplotype is a mosaic of the panel's: from one observed site to the next, ``d`` morgans away,
    another haplotype is copied with probability ``1 - exp(-4 Ne d / H)``, and a copied allele
    differs with probability ``error`` (Li and Stephens, Genetics 165, 2003; the scale by H as in
    Howie et al., PLoS Genetics 5, 2009).

    Parameters
    ----------
    panel : Panel
    ne : tuple of float
        Effective population sizes: the larger, the shorter the segments copied.
    error : float
        0 for 2 / H.
    genetic_map : GeneticMap, optional
        Distances are the mean of the map's and of 1 cM a Mb; without a map, the latter.
    flank : int
        Sites on each side of a window that count too; negative for the whole panel.
    threads : int, optional
    """

    def __init__(
        self,
        panel: Panel,
        *,
        ne: tuple[float, ...],
        error: float,
        genetic_map: GeneticMap | None = None,
        flank: int,
        threads: int | None = None,
    ) -> None:
        self.panel = panel
        self.flank = flank
        self._error = error or min(0.5, 2 / panel.num_haplotypes)
        self._threads = threads
        cm = panel.position * (DEFAULT_CM_PER_MB * 1e-6)
        if genetic_map is not None:
            cm = _MAP_SHARE * genetic_map.at(panel.position) + (1 - _MAP_SHARE) * cm
        self._switches = [4 * size * (cm - cm[0]) / 100 / panel.num_haplotypes for size in ne]

    @property
    def num_models(self) -> int:
        """C."""
        return len(self._switches)

    def thread_bytes(self, num_observed: int) -> int:
        """Return about how much memory a thread works in, by the sites that are observed."""
        rounded = 64 * -(-self.panel.num_haplotypes // 64)
        return 8 * math.ceil(math.sqrt(num_observed)) * rounded

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of sites that counts for the window [start, stop)."""
        if self.flank < 0:
            return 0, self.panel.num_sites
        return max(0, start - self.flank), min(self.panel.num_sites, stop + self.flank)

    def dosage(
        self,
        queries: NDArray[np.uint64],
        start: int,
        stop: int,
        observed: NDArray[np.bool_],
        exclude: NDArray[np.int64],
        missing: NDArray[np.uint64] | None = None,
    ) -> NDArray[np.float32]:
        """Return (Q, C, n) probabilities of ALT over the n sites of [start, stop).

        Parameters
        ----------
        queries : (Q, ceil(n / 64)) uint64
            Their alleles, one bit a site.
        observed : (n,) bool
            Sites whose alleles count.
        exclude : (Q, E) int64
            Haplotypes that are not copied from, -1 for none.
        missing : (Q, ceil(n / 64)) uint64, optional
            Ones at observed sites that one query lacks.
        """
        models = [
            li_stephens_dosage(
                queries,
                self.panel.site_bits[start:stop],
                num_haplotypes=self.panel.num_haplotypes,
                observed=observed,
                switches=switches[start:stop],
                error=self._error,
                exclude=exclude,
                missing=missing,
                threads=self._threads,
            )
            for switches in self._switches
        ]
        return np.stack(models, axis=1)
