"""The network of a run with the loaders of its batches, by the options."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..batches.device import DeviceHaplotypes
from ..kernels import EVIDENCE, Rates
from ..li_stephens.rates import HiddenSites, choose_rates, given_mismatch, learn_rates, map_rho
from ..network.device import holds_panel, require_compiler
from ..network.head import Head
from ..network.head_network import HeadNetwork
from ..network.transformer import ImputationNetwork
from ..panel.windows import Windows
from ..retrieval.cache import IndexCache
from .distributed import Ranks
from .loader import Loader
from .loaders import SampleLoader, WindowLoader
from .options import Config
from .run_data import RunData

Network = HeadNetwork | ImputationNetwork


def make_network(config: Config, data: RunData, device: torch.device) -> Network:
    """Return the untrained network of the options, on a device; a head has the rates of the map."""
    torch.manual_seed(config.training.seed)
    if config.network.network == "head":
        head = Head(len(EVIDENCE), config.network.hidden)
        return HeadNetwork(head, given_rates(data)).to(device)
    network = ImputationNetwork(
        config.network,
        num_neighbours=config.retrieval.k,
        dense=config.retrieval.retrieval == "dense",
    ).to(device)
    network.least_frequency.fill_(1 / data.panel.num_haplotypes)
    if config.run.compile:
        require_compiler(device)
        if not config.run.dry_run:  # it runs one sample, which would be padded to a batch
            network.compile_blocks()
    return network


def make_loaders(
    config: Config,
    data: RunData,
    windows: Windows,
    ranks: Ranks,
    network: Network,
    device: torch.device,
) -> tuple[Loader, Loader]:
    """Return the loaders of training and of validation."""

    def loader(training: bool) -> Loader:
        if isinstance(network, HeadNetwork):
            return SampleLoader(config, data, windows, network.rates, ranks, training=training)
        return WindowLoader(
            config,
            data,
            windows,
            ranks,
            training=training,
            cache=cache,
            resident=resident,
            site_weights=network.retrieval_weights,
        )

    cache = IndexCache(config.retrieval.cache_mb * 2**20)
    with_panel = config.network.network == "transformer" and holds_panel(device)
    resident = DeviceHaplotypes(data.panel, device) if with_panel else None
    return loader(True), loader(False)


def given_rates(data: RunData) -> Rates:
    """Return the rates of the genetic map, where learning begins."""
    panel = data.panel
    rho = map_rho(panel.position, panel.num_haplotypes, data.genetic_map)
    return Rates(rho - rho[0], given_mismatch(panel.num_haplotypes), np.zeros(0))


def learned_rates(data: RunData, observed: NDArray[np.bool_], threads: int | None) -> Rates:
    """Return the rates learned from the panel's haplotypes, of which the observed sites count.

    Of one sample in five, hidden sites choose between them and those of the map, and their scale.
    """
    panel, given = data.panel, given_rates(data).cumulative_rho
    learned, mismatch = learn_rates(panel, observed, given, threads=threads)
    hidden = HiddenSites(panel, observed, given, learned)
    samples = np.arange(min(2, panel.num_samples - 1), panel.num_samples, 5)
    chosen = choose_rates([hidden], mismatch, samples, threads=threads)
    rho = learned if chosen.is_learned else given
    return Rates(chosen.scale * (rho - rho[0]), chosen.mismatch, np.zeros(0))


def learn_head(
    config: Config, data: RunData, network: HeadNetwork, loaders: Sequence[Loader], ranks: Ranks
) -> None:
    """Give an untrained head what it starts from, and the loaders its rates.

    The rates are learned on the panel under the masks of the run's middle epoch, and the evidence
    of that epoch's first batch says what it is standardised by; by rank 0, so that all ranks have
    the same.
    """
    loader = loaders[0]
    assert isinstance(loader, SampleLoader)
    epoch, rates = config.training.epochs // 2, network.rates
    if ranks.is_writer:
        observed = loader.dataset.observed_set(epoch).observed
        rates = learned_rates(data, observed, config.run.threads)
    network.set_rates(ranks.broadcast(rates))
    share_rates(network, loaders)
    batch = loader.dataset.__getitems__(next(loader.sampler.batches(epoch)))
    loader.dataset.drop_stale(-1)
    network.head.standardise(batch.evidence.to(network.mismatch.device))
    for buffer in (network.head.mean, network.head.scale):
        buffer.copy_(ranks.broadcast(buffer.cpu()))


def share_rates(network: Network, loaders: Sequence[Loader]) -> None:
    """Make the loaders use the rates of a head, which were learned or restored."""
    for loader in loaders:
        if isinstance(network, HeadNetwork) and isinstance(loader, SampleLoader):
            loader.dataset.rates = network.rates
