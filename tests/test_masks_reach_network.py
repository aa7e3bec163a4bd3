"""The masks that reach the network are the contract's, however the workers were started."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from snvrag.batches.batch import MASK, Batch
from snvrag.batches.dataset import Targets, WindowDataset, as_batch
from snvrag.batches.keys import KeySampler
from snvrag.batches.masks import MaskRule
from snvrag.panel.windows import Windows
from snvrag.training import tables as report
from snvrag.training.loader import Loader
from snvrag.training.options import Config, parse_arguments
from snvrag.training.run_data import RunData, load_run_data
from snvrag.training.trainer import Trainer

EPOCHS = (0, 1, 2)
NUM_SAMPLES = 6
NUM_SITES = 120

pytestmark = [
    # Python 3.12 and later warn of every fork() of a process with threads.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    # So does torch of more workers than there are cores.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


def formula(af: np.ndarray, windows: Windows, seed: int, rate: float) -> list[np.ndarray]:
    """Contract 4.1, in NumPy: the mask of every window."""
    masks = []
    for window, (start, stop) in enumerate(zip(windows.starts, windows.stops, strict=True)):
        own = af[start:stop]
        p = np.where(own < 0.05, 0.7, rate)
        u = np.random.Generator(np.random.Philox(key=seed * 10_000 + window)).random(own.size)
        masks.append(u < p)
    return masks


def curriculum(epoch: int) -> float:
    return (0.30, 0.40, 0.50, 0.60, 0.70, 0.80)[min(epoch // 2, 5)]


def check_tokens(batch: Batch, expected: list[np.ndarray]) -> set[int]:
    """Compare what the network sees with the masks of the batch's windows."""
    masked = (batch.tokens == MASK).numpy()
    windows = batch.windows[batch.window_row].tolist()
    for row, window in zip(masked, windows, strict=True):
        length = expected[window].size
        np.testing.assert_array_equal(row[:, :length], np.stack([expected[window]] * 2))
        assert not row[:, length:].any()
    return set(windows)


@pytest.fixture(scope="module")
def world(mosaic_haplotypes, make_panel):
    panel = make_panel(mosaic_haplotypes(2 * NUM_SAMPLES, NUM_SITES, seed=5))
    present = np.ones(NUM_SITES, bool)
    targets = Targets(panel, present, np.arange(NUM_SAMPLES), panel.sample_population)
    windows = Windows.split(NUM_SITES, 50)
    expected = {e: formula(panel.af, windows, e, curriculum(e)) for e in EPOCHS}
    assert not any(np.array_equal(expected[0][0], expected[e][0]) for e in (1, 2))
    return panel, targets, windows, expected


def loader(world, workers: int, method: str | None, persistent: bool) -> DataLoader[Batch]:
    """As `Loader` makes it, but for `persistent`."""
    panel, targets, windows, _ = world
    return DataLoader(
        WindowDataset(panel, targets, windows, MaskRule()),
        batch_sampler=KeySampler(len(windows), NUM_SAMPLES, 7, seed=0, shuffle="full"),
        collate_fn=as_batch,
        num_workers=workers,
        multiprocessing_context=method,
        persistent_workers=persistent,
        generator=torch.Generator(),
    )


@pytest.mark.parametrize(
    ("workers", "method", "persistent"),
    [
        (0, None, False),
        *(
            (n, method, kept)
            for method in ("fork", "spawn")
            for n in (1, 3)
            for kept in (True, False)
        ),
    ],
)
def test_masks_of_every_epoch(world, monkeypatch, workers, method, persistent):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = loader(world, workers, method, persistent)
    for epoch in EPOCHS:
        made.batch_sampler.epoch = epoch
        seen = set()
        for batch in made:
            assert batch.mask_seed == epoch
            seen |= check_tokens(batch, world[3][epoch])
        assert seen == {0, 1, 2}


@pytest.mark.parametrize(("workers", "method"), [(0, "fork"), (1, "fork"), (3, "fork")])
def test_masks_through_the_feed(world, workers, method):
    panel, targets, windows, expected = world
    config = Config(k=2, batch_size=5, workers=workers, start_method=method, segment_size=20)
    loader = Loader(
        config,
        RunData(panel, targets, targets, ()),
        targets,
        windows,
        MaskRule(),
        None,
        training=True,
    )
    assert loader.loader.persistent_workers == (workers > 0)
    for epoch in (*EPOCHS, 0):  # and back again
        seen = set()
        for batch, neighbours in loader.epoch(epoch):
            seen |= check_tokens(batch, expected[epoch])
            assert neighbours.alleles.shape[0] == batch.num_samples
        assert seen == {0, 1, 2}


def test_masks_of_a_whole_training(tmp_path, tiny_arguments, monkeypatch):
    """Every forward pass of `Trainer`: training masks by the epoch, validation's always by 2024."""
    config = parse_arguments([*tiny_arguments, "--output", str(tmp_path), "--workers", "1"])
    sources = load_run_data(config)
    trainer = Trainer(config, sources)
    af, windows = sources.panel.af, trainer.windows
    training = {e: formula(af, windows, e, curriculum(e)) for e in EPOCHS}
    validation = formula(af, windows, 2024, 0.5)
    seen: list[tuple[bool, int]] = []

    def look(module: torch.nn.Module, arguments: tuple[Batch, object]) -> None:
        batch = arguments[0]
        check_tokens(batch, training[batch.mask_seed] if module.training else validation)
        seen.append((module.training, batch.mask_seed))

    trainer.network.register_forward_pre_hook(look)
    monkeypatch.setattr(report, "plot_metrics", lambda *_: True)
    trainer.fit()

    def epochs(wanted: bool) -> Iterator[int]:
        return (epoch for training, epoch in seen if training == wanted)

    assert sorted(set(epochs(True))) == [0, 1, 2]
    assert list(dict.fromkeys(epochs(True))) == [0, 1, 2]
    assert set(epochs(False)) == {2024}
