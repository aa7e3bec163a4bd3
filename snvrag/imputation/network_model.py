"""Trained networks, loaded from the checkpoints of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..config.options import from_table
from ..errors import InputError
from ..io.checkpoint import load_checkpoint, sha256_of, written_by
from ..kernels import EVIDENCE, HeadWeights
from ..network.device import choose_device
from ..network.head import Head
from ..network.options import NetworkConfig
from ..network.transformer import ImputationNetwork
from ..panel.windows import WindowConfig
from ..retrieval.options import RetrievalConfig


@dataclass(frozen=True)
class NetworkModel:
    """A trained network with the options of what it was trained on.

    Attributes
    ----------
    network : ImputationNetwork
        In evaluation mode.
    windows, retrieval
        Options of the run that trained it.
    sha256 : str
        Of its file, in hex.
    amp : bool
        Whether it was trained in bfloat16 on a GPU, and predicts so there.
    """

    network: ImputationNetwork
    windows: WindowConfig
    retrieval: RetrievalConfig
    sha256: str
    amp: bool = True

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def load_network(
    path: str | Path, device: str = "auto", threads: int | None = None
) -> NetworkModel | HeadWeights:
    """Return the network of a checkpoint; only its options and weights are used.

    Of a head, that is its weights: rates are of the panel that it was trained on. ``device`` is
    where a transformer goes, as `choose_device` takes it, and ``threads`` is how many torch may
    have from now on in this process.

    Raises
    ------
    InputError
        If the file cannot be read, or its weights do not fit the network of its options.
    """
    if threads:
        torch.set_num_threads(threads)
    content = load_checkpoint(path, "model")
    tables = content["config"]
    try:
        config = from_table(NetworkConfig, tables["network"])
        if config.network == "head":
            return _head(content["model"], config)
        retrieval = from_table(RetrievalConfig, tables["retrieval"])
        network = ImputationNetwork(
            config,
            num_neighbours=retrieval.k,
            dense=retrieval.retrieval == "dense",
        )
        network.load_state_dict(content["model"])
        windows = from_table(WindowConfig, tables["windows"])
        amp = bool(tables["run"]["amp"])
    except (RuntimeError, TypeError, KeyError, InputError) as error:
        raise InputError(
            f"of another version of snvrag{written_by(content)}: its weights do not fit this "
            "network",
            argument="model",
            path=path,
        ) from error
    digest = sha256_of(Path(path))
    on_device = network.to(choose_device(device)).eval()
    return NetworkModel(on_device, windows, retrieval, digest, amp)


def _head(weights: dict[str, torch.Tensor], config: NetworkConfig) -> HeadWeights:
    head = Head(len(EVIDENCE), config.hidden)
    start = "head."
    head.load_state_dict(
        {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
    )
    return head.to_weights()
