"""Stub until the real one is merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..panel.genetic_map import cm_at


@dataclass(frozen=True)
class Adapted:
    chrom: str
    position: NDArray[np.int64]
    alleles: NDArray[np.str_]
    cumulative_rho: NDArray[np.float64]
    mismatch: float
    head: Any
    provenance: dict[str, str]

    def save(self, path):
        import json

        import safetensors.numpy

        safetensors.numpy.save_file(
            {
                "position": self.position,
                "alleles": np.ascontiguousarray(self.alleles).view(np.uint32),
                "cumulative_rho": self.cumulative_rho,
            },
            path,
            {
                "chrom": self.chrom,
                "mismatch": repr(self.mismatch),
                "p": json.dumps(self.provenance),
            },
        )

    @classmethod
    def load(cls, path):
        import json

        import safetensors

        with safetensors.safe_open(path, "numpy") as f:
            a = {k: f.get_tensor(k) for k in f.keys()}
            m = f.metadata()
        return cls(
            m["chrom"],
            a["position"],
            a["alleles"].view("<U1").reshape(-1, 2),
            a["cumulative_rho"],
            float(m["mismatch"]),
            None,
            json.loads(m["p"]),
        )


def adapt(panel, typed, *, genetic_map=None, threads=None):
    position = panel.position[typed]
    rho = cm_at(position, genetic_map) * (4 * 1e5 / 100 / panel.num_haplotypes)
    return Adapted(
        panel.chrom,
        position,
        panel.alleles[typed],
        rho,
        min(0.5, 2 / panel.num_haplotypes),
        None,
        {},
    )
