"""Trained networks, loaded from the checkpoints of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..config.options import from_table
from ..errors import InputError
from ..io.checkpoint import load_checkpoint, sha256_of, written_by
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
    path: str | Path, device: torch.device, threads: int | None = None
) -> NetworkModel:
    """Return the network of a checkpoint; only its options and weights are used.

    ``threads`` is how many torch may have from now on in this process.

    Raises
    ------
    InputError
        If the file cannot be read, or its weights do not fit the network of its options.
    """
    if threads:
        torch.set_num_threads(threads)
    content = load_checkpoint(path, "model")
    tables = content["config"]
    if tables["network"]["network"] != "transformer":
        raise InputError(
            "must be a checkpoint of a transformer, got one of a head", argument="model", path=path
        )
    try:
        retrieval = from_table(RetrievalConfig, tables["retrieval"])
        network = ImputationNetwork(
            from_table(NetworkConfig, tables["network"]),
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
    return NetworkModel(network.to(device).eval(), windows, retrieval, digest, amp)
