"""A panel and a target that are matched already, for the tests of imputers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snvrag.imputation.imputed import ImputedBlock, PanelAndTarget
from snvrag.io.imputed_columns import PRODUCT
from snvrag.io.matching import MatchedBlock
from snvrag.kernels import oracle


class MatchedData:
    """A panel and a target at the same sites."""

    def __init__(
        self,
        panel: Any,
        target: Any,
        typed: Any,
        missing: Any = None,
        ploidy: Any = None,
        position: NDArray[np.int64] | None = None,
        unphased: Any = None,
    ) -> None:
        self.typed, self.panel_alleles, self.target_alleles = typed, panel, target
        self.ploidy = np.array(ploidy or [2] * (len(panel) // 2))
        self.names = [f"p{i}" for i in range(self.ploidy.size)]
        self.target_names = [f"t{i}" for i in range(len(target) // 2)]
        if position is None:
            position = 1000 + 37 * np.arange(typed.size)
        self.position = position
        lacks = np.zeros_like(target) if missing is None else (missing & typed).astype(np.int8)
        if unphased is None:
            unphased = np.zeros((len(target) // 2, typed.size), bool)
        self._sites = MatchedBlock(
            position,
            np.array([["A", "G"]] * typed.size),
            [f"rs{p}" for p in position.tolist()],
            oracle.pack_haplotypes(panel.T),
            alt_count=panel.sum(0, dtype=np.int64),
            typed=typed,
            # Whatever stands in the place of a missing allele.
            target_bits=oracle.pack_haplotypes((target * typed).T.astype(np.int8)),
            target_missing_bits=oracle.pack_haplotypes(lacks.T),
            target_unphased_bits=oracle.pack_haplotypes((unphased & typed).T.astype(np.int8)),
        )

    def blocks(self, size: int = 50) -> Iterator[MatchedBlock]:
        for start in range(0, self._sites.num_sites, size):
            yield self._sites.slice(start, start + size)

    def samples(self) -> PanelAndTarget:
        return PanelAndTarget("1", self.names, self.ploidy, self.target_names)

    def imputed(self, imputer: Any, block: int = 50) -> NDArray[np.uint16]:
        """Return (S, T, 2) dosages of an imputer."""
        return self.imputed_block(imputer, block).hap_dosage

    def imputed_block(self, imputer: Any, block: int = 50) -> ImputedBlock:
        """Return what an imputer predicts, with all columns."""
        parts = []
        for part in imputer.run(self.blocks(block)):
            shape = part.hap_dosage.shape[:2]
            hom_alt = np.full(shape, PRODUCT, np.uint16) if part.hom_alt is None else part.hom_alt
            none = np.zeros(shape, np.int32)
            phase_set = none if part.phase_set is None else part.phase_set
            parts.append(replace(part, hom_alt=hom_alt, phase_set=phase_set))
        imputed = ImputedBlock.concat(parts)
        assert (imputed.position == self._sites.position).all()
        assert imputed.ids == self._sites.ids
        assert (imputed.typed == self.typed).all()
        assert imputed.hap_dosage.max() <= 1000
        assert imputed.hom_alt is not None
        assert (imputed.hom_alt[imputed.hom_alt != PRODUCT] <= 1000).all()
        return imputed
