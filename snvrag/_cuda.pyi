from typing_extensions import CapsuleType as Capsule  # DLPack capsules of device memory

class CudaError(RuntimeError): ...

def device_count() -> int: ...
def compiled_architectures() -> list[int]: ...
def row_pitch(num_rows: int) -> int: ...
def plan_size(num_sites: int) -> int: ...
def af_guided_masks(
    af: Capsule,
    starts: Capsule,
    stops: Capsule,
    mask: Capsule,
    seed: int,
    first_window: int,
    rate: float,
    rare_rate: float,
    rare_threshold: float,
    mersenne_twister: bool,
    stream: int,
) -> None: ...
def hamming_index_build(
    panel: Capsule,
    num_sites: int,
    observed: Capsule | None,
    plan: Capsule,
    words: Capsule,
    stream: int,
) -> None: ...
def hamming_index_build_from_sites(
    site_bits: Capsule,
    num_haplotypes: int,
    observed: Capsule | None,
    plan: Capsule,
    words: Capsule,
    stream: int,
) -> None: ...
def hamming_workspace_bytes(
    max_words: int,
    num_haplotypes: int,
    num_queries: int,
    k: int,
    block_bytes: int,
    weighted: bool,
) -> int: ...
def hamming_search(
    plan: Capsule,
    words: Capsule,
    num_haplotypes: int,
    num_sites: int,
    queries: Capsule,
    k: int,
    exclude: Capsule | None,
    weights: Capsule | None,
    workspace: Capsule,
    block_bytes: int,
    distances: Capsule,
    indices: Capsule,
    stream: int,
) -> None: ...
def l2_workspace_bytes(num_queries: int, num_rows: int, k: int, block_bytes: int) -> int: ...
def topk_l2(
    queries: Capsule,
    database: Capsule,
    k: int,
    exclude: Capsule | None,
    workspace: Capsule,
    block_bytes: int,
    distances: Capsule,
    indices: Capsule,
    first_nan: Capsule,
    stream: int,
) -> None: ...
