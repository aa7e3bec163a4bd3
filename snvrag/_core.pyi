import numpy as np
from numpy.typing import NDArray

compiler: str
commit: str

def pack_rows(alleles: NDArray[np.int8 | np.uint8 | np.bool_]) -> NDArray[np.uint64]: ...
def unpack_rows(bits: NDArray[np.uint64], num_sites: int) -> NDArray[np.int8]: ...
def transpose_bits(bits: NDArray[np.uint64], num_columns: int) -> NDArray[np.uint64]: ...
def gather_columns(
    bits: NDArray[np.uint64], start: int, stop: int, columns: NDArray[np.int64]
) -> NDArray[np.uint64]: ...
def gather_alleles(
    bits: NDArray[np.uint64],
    start: int,
    stop: int,
    columns: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None: ...
def imputed_records(
    heads: bytes,
    hap_dosage: NDArray[np.uint16],
    haploid: NDArray[np.bool_],
    hom_alt: NDArray[np.uint16] | None,
    phase_set: NDArray[np.int32] | None,
) -> bytes: ...
def phased_records(
    heads: bytes,
    alleles: NDArray[np.uint64],
    missing: NDArray[np.uint64],
    haploid: NDArray[np.bool_],
    phase_set: NDArray[np.int32],
) -> bytes: ...
def read_genotypes(
    codes: NDArray[np.int32],
    ploidy: NDArray[np.uint8],
    alleles: NDArray[np.uint64],
    missing: NDArray[np.uint64],
    unphased: NDArray[np.uint64],
) -> tuple[int, int, int, int, int, int]: ...
def li_stephens_dosage(
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    exclude: NDArray[np.int64] | None,
    missing: NDArray[np.uint64] | None,
    threads: int | None,
) -> NDArray[np.float32]: ...
def head_log_odds(
    evidence: NDArray[np.float32],
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    hidden_weight: NDArray[np.float32],
    hidden_bias: NDArray[np.float32],
    output_weight: NDArray[np.float32],
    output_bias: float,
    threads: int | None,
) -> NDArray[np.float32]: ...
def li_stephens_evidence(
    queries: NDArray[np.uint64],
    haplotype_bits: NDArray[np.uint64],
    observed: NDArray[np.bool_],
    sites: NDArray[np.int64],
    alt_count: NDArray[np.int64],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    states: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]] | None,
    exclude: NDArray[np.int64] | None,
    missing: NDArray[np.uint64] | None,
    threads: int | None,
) -> NDArray[np.float32]: ...
def li_stephens_events(
    queries: NDArray[np.uint64],
    haplotype_bits: NDArray[np.uint64],
    observed: NDArray[np.bool_],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    states: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]] | None,
    exclude: NDArray[np.int64] | None,
    missing: NDArray[np.uint64] | None,
    threads: int | None,
) -> tuple[NDArray[np.float64], float, int, NDArray[np.float64]]: ...
def sample_phasings(
    queries: NDArray[np.uint64],
    haplotype_bits: NDArray[np.uint64],
    observed: NDArray[np.bool_],
    cumulative_rho: NDArray[np.float64],
    mismatch: float,
    states: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]] | None,
    keys: NDArray[np.uint64],
    first_rank: int,
    unphased: NDArray[np.uint64] | None,
    switch_error: float,
    exclude: NDArray[np.int64] | None,
    missing: NDArray[np.uint64] | None,
    draws: int,
    threads: int | None,
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]: ...
def retrieve_states(
    queries: NDArray[np.uint64],
    site_bits: NDArray[np.uint64],
    num_haplotypes: int,
    observed: NDArray[np.bool_],
    position_cm: NDArray[np.float64],
    neighbours: int,
    step: int,
    within_cm: float,
    exclude: NDArray[np.int64] | None,
    missing: NDArray[np.uint64] | None,
    unphased: NDArray[np.uint64] | None,
    group_size: int,
    threads: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]: ...
def topk_l2(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    k: int,
    exclude: NDArray[np.int64] | None,
    threads: int | None,
    distances: NDArray[np.float32] | None = None,
    indices: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...

class HammingIndex:
    num_haplotypes: int
    num_sites: int
    num_observed: int
    num_bytes: int
    @staticmethod
    def from_haplotypes(
        panel: NDArray[np.uint64], num_sites: int, observed: NDArray[np.bool_] | None
    ) -> HammingIndex: ...
    @staticmethod
    def from_sites(
        site_bits: NDArray[np.uint64], num_haplotypes: int, observed: NDArray[np.bool_] | None
    ) -> HammingIndex: ...
    def search(
        self,
        queries: NDArray[np.uint64],
        k: int,
        exclude: NDArray[np.int64] | None,
        weights: NDArray[np.float32] | None,
        threads: int | None,
        distances: NDArray[np.int32 | np.float32] | None = None,
        indices: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32 | np.float32], NDArray[np.int64]]: ...

def simd_levels() -> list[str]: ...
def simd_level() -> str: ...
def set_simd_level(level: str) -> None: ...
