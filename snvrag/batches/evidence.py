"""The dataset of the head: keys to batches of Li-Stephens evidence over the whole region.

As in `WindowDataset`, nothing remembers an epoch: the mask_seed travels with the key. What is held
of one mask_seed is a cache, and is built anew for another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .. import _core
from ..kernels import EVIDENCE, Rates, li_stephens_evidence
from ..li_stephens.states import states_of
from ..panel.panel import Panel
from ..panel.windows import Windows
from .batch import EvidenceBatch, Work
from .dataset import Targets
from .keys import Key
from .masks import MaskConfig


@dataclass(frozen=True)
class ObservedSet:
    """What all samples share under one mask_seed.

    Attributes
    ----------
    mask_seed : int
    observed : (S,) bool
        Sites at which the targets' alleles count.
    sites : (N,) int64
        Hidden sites that the targets' file has, ascending.
    window : (N,) int64
        The window of each.
    """

    mask_seed: int
    observed: NDArray[np.bool_]
    sites: NDArray[np.int64]
    window: NDArray[np.int64]

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self.observed.nbytes + self.sites.nbytes + self.window.nbytes


class EvidenceDataset(Dataset[EvidenceBatch]):
    """Batches of evidence from keys.

    The Li-Stephens model of a sample runs once for a batch, over all sites of ``panel``, the
    reference, of which those that are not hidden count; a haplotype is never copied from its own
    sample. ``rates`` are those of the model, and ``position_cm``, (S,), are the sites' positions on
    the genetic map, by which its states are retrieved (`states_of`).
    """

    def __init__(
        self,
        panel: Panel,
        targets: Targets,
        windows: Windows,
        masks: MaskConfig,
        rates: Rates,
        position_cm: NDArray[np.float64],
        *,
        threads: int | None = None,
    ) -> None:
        self.targets, self.windows, self.masks, self.rates = targets, windows, masks, rates
        self._panel, self._position_cm, self._threads = panel, position_cm, threads
        self._alt_is_minor = 2 * panel.alt_count <= panel.num_haplotypes
        self._held: ObservedSet | None = None

    def __getitem__(self, key: Key) -> EvidenceBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> EvidenceBatch:
        """Return one batch for the keys, which share their mask_seed and come sample by sample.

        A sample whose keys lack a window is not scored there. Raises ValueError for other keys.
        """
        mask_seed = keys[0].mask_seed if keys else -1
        samples, row = np.unique(
            np.array([key.sample for key in keys], np.int64), return_inverse=True
        )
        if any(key.mask_seed != mask_seed for key in keys) or (np.diff(row) < 0).any():
            raise ValueError("keys must be of one mask_seed, in the order of their samples")
        wanted = np.zeros((samples.size, len(self.windows)), bool)
        wanted[row, [key.window for key in keys]] = True
        is_held = self._held is not None and self._held.mask_seed == mask_seed
        start = time.perf_counter()
        shared = self.observed_set(mask_seed) if keys else _NOTHING
        build_seconds = time.perf_counter() - start
        chosen = np.any(wanted, axis=0)[shared.window]
        sites, window = shared.sites[chosen], shared.window[chosen]
        haplotypes = self.targets.haplotypes.haplotypes_of(samples).ravel()
        bits = self.targets.haplotypes.haplotype_bits(haplotypes, 0, self._panel.num_sites)
        missing = self._missing(haplotypes)
        start = time.perf_counter()
        evidence = self._evidence(samples, bits, missing, shared.observed, sites)
        evidence_seconds = time.perf_counter() - start
        alleles = self._at(bits, sites)
        scored = wanted[:, window] & self._polymorphic_without(samples, alleles, sites)
        if missing is not None:
            scored &= ~self._at(missing, sites).any(1)
        num_bytes = 0 if self._held is None else self._held.num_bytes
        return EvidenceBatch(
            mask_seed,
            sites,
            torch.from_numpy(evidence),
            torch.from_numpy(alleles),
            torch.from_numpy(scored),
            torch.from_numpy(self._panel.af[sites].astype(np.float32)),
            torch.from_numpy(self._alt_is_minor[sites]),
            Work(int(bool(keys) and not is_held), build_seconds, num_bytes, evidence_seconds),
        )

    def observed_set(self, mask_seed: int) -> ObservedSet:
        """Return what samples share under a mask_seed: the one that is held, or one built now."""
        if self._held is None or self._held.mask_seed != mask_seed:
            present = self.targets.present
            hidden = self.masks.masks(self._panel.af, self.windows, mask_seed)
            sites = np.flatnonzero(hidden & present)
            window = np.searchsorted(self.windows.stops, sites, side="right")
            self._held = ObservedSet(mask_seed, present & ~hidden, sites, window)
        return self._held

    def drop_stale(self, mask_seed: int) -> int:
        """Drop what is held of another mask_seed; return how many sets that were."""
        if self._held is None or self._held.mask_seed == mask_seed:
            return 0
        self._held = None
        return 1

    def _evidence(
        self,
        samples: NDArray[np.int64],
        bits: NDArray[np.uint64],
        missing: NDArray[np.uint64] | None,
        observed: NDArray[np.bool_],
        sites: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return the (n, 2, N, E) evidence of samples, whose haplotypes are ``bits``."""
        shape = (samples.size, 2, sites.size, len(EVIDENCE))
        if 0 in shape:
            return np.zeros(shape, np.float32)
        panel, exclude = self._panel, self._own(samples).repeat(2, axis=0)
        states = states_of(
            bits,
            panel.site_bits,
            num_haplotypes=panel.num_haplotypes,
            observed=observed,
            position_cm=self._position_cm,
            exclude=exclude,
            missing=missing,
            threads=self._threads,
        )
        evidence = li_stephens_evidence(
            bits,
            panel.haplotype_rows,
            observed=observed,
            sites=sites,
            alt_count=panel.alt_count[sites],
            cumulative_rho=self.rates.cumulative_rho,
            mismatch=self.rates.mismatch,
            states=states,
            exclude=exclude,
            missing=missing,
            threads=self._threads,
        )
        return evidence.reshape(shape)

    def _missing(self, haplotypes: NDArray[np.int64]) -> NDArray[np.uint64] | None:
        bits = self.targets.missing_bits
        if bits is None:
            return None
        return _core.gather_columns(bits, 0, self._panel.num_sites, haplotypes)

    def _at(self, bits: NDArray[np.uint64], sites: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the bits of pairs of haplotypes at some sites, (n, 2, N)."""
        alleles = _core.unpack_rows(bits, self._panel.num_sites)[:, sites].view(np.uint8)
        return alleles.reshape(len(bits) // 2, 2, sites.size)

    def _own(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (n, 2) haplotypes that the panel has of samples, -1 for none."""
        return self._panel.own_haplotypes(self.targets.panel_sample[samples])

    def _polymorphic_without(
        self, samples: NDArray[np.int64], alleles: NDArray[np.uint8], sites: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (n, N): where the panel without the sample has both alleles."""
        panel, in_panel = self._panel, self.targets.panel_sample[samples] >= 0
        if self.targets.haplotypes is not panel:
            own = np.maximum(self._own(samples), 0).ravel()
            alleles = self._at(panel.haplotype_bits(own, 0, panel.num_sites), sites)
        ploidy = panel.sample_ploidy[self.targets.panel_sample[samples]] * in_panel
        # The one haplotype of a haploid sample comes twice.
        left = panel.alt_count[sites] - alleles.sum(1) * ploidy[:, None] // 2
        both: NDArray[np.bool_] = (left > 0) & (left < panel.num_haplotypes - ploidy[:, None])
        return both


_NOTHING = ObservedSet(-1, np.zeros(0, bool), np.zeros(0, np.int64), np.zeros(0, np.int64))
