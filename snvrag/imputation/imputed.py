"""What every way of imputing is given before the sites, and what it returns for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import InputError
from ..io.imputed_columns import SCALE
from ..io.matching import MatchedBlock
from ..panel.genetic_map import GeneticMap
from ..panel.regions import Region

OnProgress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class ImputedBlock(MatchedBlock):
    """Consecutive sites of a panel, imputed in T samples.

    Attributes
    ----------
    hap_dosage : (n, T, 2) uint16
        Probability of ALT on each haplotype, in thousandths; 0 or 1,000 where the target has the
        allele.
    hom_alt : (n, T) uint16 or None
        Probability of two ALT alleles, in thousandths; `PRODUCT` where it is the product of the two
        of ``hap_dosage``, as everywhere if it is None. Haploid samples do not use it.
    phase_set : (n, T) int32 or None
        Position of the first heterozygote of the phase set that a sample's site belongs to, 0 for
        none, as everywhere if it is None.
    """

    hap_dosage: NDArray[np.uint16]
    hom_alt: NDArray[np.uint16] | None = None
    phase_set: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class PanelAndTarget:
    """A panel and a target as they are known before their sites are read.

    Attributes
    ----------
    chrom : str
    panel_samples : sequence of str
    panel_ploidy : (num_samples,) int64
        1 or 2.
    target_samples : sequence of str
        One that the panel has by name is not copied from, nor counted in frequencies.
    genetic_map : GeneticMap, optional
        Without one, 1 cM a Mb.

    Raises
    ------
    InputError
        If a target sample would have no haplotype to copy from.
    """

    chrom: str
    panel_samples: Sequence[str]
    panel_ploidy: NDArray[np.int64]
    target_samples: Sequence[str]
    genetic_map: GeneticMap | None = None

    def __post_init__(self) -> None:
        own = self.panel_sample[self.panel_sample >= 0]
        if self.num_haplotypes - int(self.panel_ploidy[own].max(initial=0)) < 1:
            raise InputError(
                f"must have samples to copy from, got only {self.panel_samples[0]}, which is also "
                "in the target",
                argument="panel",
            )

    @property
    def num_haplotypes(self) -> int:
        """H, of the panel."""
        return int(self.panel_ploidy.sum())

    @cached_property
    def panel_sample(self) -> NDArray[np.int64]:
        """(T,) int64: the panel's sample of each target sample's name, or -1."""
        number = {name: i for i, name in enumerate(self.panel_samples)}
        return np.array([number.get(name, -1) for name in self.target_samples], np.int64)

    @cached_property
    def own_haplotypes(self) -> NDArray[np.int64]:
        """(T, 2) int64: the panel's haplotypes of each target sample's name, or -1."""
        last = np.cumsum(self.panel_ploidy) - 1
        pairs = np.stack([last - self.panel_ploidy + 1, last], axis=1)
        return np.where(self.panel_sample[:, None] < 0, -1, pairs[self.panel_sample])

    @property
    def ploidy(self) -> NDArray[np.int64] | None:
        """The panel's ploidy as `Panel` takes it: None if all samples are diploid."""
        return None if (self.panel_ploidy == 2).all() else self.panel_ploidy


class ImputesBlocks(Protocol):
    """One way of imputing."""

    unit: str
    """What its progress counts."""

    def run(
        self,
        blocks: Iterable[MatchedBlock],
        on_progress: OnProgress | None = None,
        region: Region | None = None,
    ) -> Iterator[ImputedBlock]:
        """Yield all sites of the panel in order, or those with positions in a region.

        ``on_progress`` is called with the number of `unit` just done.
        """


def with_known_alleles(
    sites: MatchedBlock, dosage: NDArray[np.uint16], num_haplotypes: int
) -> ImputedBlock:
    """Return a block with what the target has, and with the panel's allele where it has one.

    ``dosage`` is (n, T, 2) uint16, predicted where the panel has both alleles; it is changed.
    ``num_haplotypes`` is that of the panel.
    """
    dosage[sites.alt_count == 0] = 0
    dosage[sites.alt_count == num_haplotypes] = SCALE
    shape = dosage.shape[1:]
    typed = np.flatnonzero(sites.typed)

    def alleles(bits: NDArray[np.uint64]) -> NDArray[np.uint8]:
        rows = _core.unpack_rows(bits[typed], shape[0] * 2)
        return rows.reshape(typed.size, *shape).view(np.uint8)

    known = alleles(sites.target_bits).astype(np.uint16) * np.uint16(SCALE)
    missing = alleles(sites.target_missing_bits) != 0
    dosage[typed] = np.where(missing, dosage[typed], known)
    return ImputedBlock(**vars(sites), hap_dosage=dosage)
