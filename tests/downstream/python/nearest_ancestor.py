"""Which of a panel's haplotypes is nearest to each target haplotype, where the target is known."""

import numpy as np

from snvrag.kernels import HammingIndex, af_guided_mask, align_sites, pack_haplotypes


def nearest(
    targets: np.ndarray, position: np.ndarray, panel: np.ndarray, panel_position: np.ndarray
) -> np.ndarray:
    """Return, for each row of `targets`, the row of `panel` with the fewest differences."""
    where = align_sites(position, panel_position)
    shared = where >= 0
    on_panel = np.zeros((len(targets), panel.shape[1]), np.int8)
    on_panel[:, where[shared]] = targets[:, shared]
    observed = np.zeros(panel.shape[1], bool)
    observed[where[shared]] = True
    index = HammingIndex(pack_haplotypes(panel), num_sites=panel.shape[1], observed=observed)
    return index.search(pack_haplotypes(on_panel), k=1).indices[:, 0]


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    panel = (rng.random((100, 500)) < 0.4).astype(np.int8)
    hidden = af_guided_mask(panel.mean(0, dtype=np.float64), seed=1, window=0, rate=0.5)
    position = 10 * np.arange(500)
    print(nearest(panel[[7, 42]][:, ~hidden], position[~hidden], panel, position).tolist())
