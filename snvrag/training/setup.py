"""Parts of a run that a configuration alone decides."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from ..batches.masks import MaskRule
from ..errors import InputError
from ..li_stephens.model import LiStephensModel
from ..network.transformer import NetworkConfig
from ..panel.windows import Windows
from .distributed import ALONE, Ranks
from .options import Config
from .run_data import RunData


def split_windows(config: Config, num_sites: int) -> Windows:
    """Return the windows of a panel of ``num_sites`` sites."""
    windows = Windows.split(num_sites, config.window_size, config.flank)
    if config.mask_generator == "mt19937" and len(windows) > 10_000:
        raise InputError(
            f"--mask-generator mt19937: at most 10000 windows, the panel has {len(windows)}: "
            "take philox, or a larger --window-size"
        )
    return windows


def mask_rules(config: Config) -> tuple[MaskRule, MaskRule]:
    """Return the masks of training, which follow the curriculum, and those of validation."""
    rule = MaskRule(
        config.mask_rates,
        config.epochs_per_rate,
        config.rare_rate,
        config.rare_threshold,
        config.mask_generator,  # type: ignore[arg-type]
    )
    return rule, MaskRule(
        (config.val_rate,), 1, rule.rare_rate, rule.rare_threshold, rule.generator
    )


def li_stephens_model(config: Config, sources: RunData) -> LiStephensModel | None:
    """Return the Li-Stephens models that a configuration asks for, None if it asks for none."""
    if not config.li_stephens:
        return None
    return LiStephensModel(
        sources.panel,
        ne=config.ne,
        mismatch=config.mismatch,
        genetic_map=sources.genetic_map,
        flank=config.li_stephens_flank,
        threads=1 if config.workers else config.threads or None,
    )


def network_config(config: Config) -> NetworkConfig:
    """Return the network that a configuration asks for."""
    return NetworkConfig(
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        dropout=config.dropout,
        span=config.span,
        num_neighbours=config.k,
        weighting=config.weighting,  # type: ignore[arg-type]
        neighbour_prior=config.neighbour_prior,
        num_models=len(config.ne) if config.li_stephens else 0,
    )


def choose_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """Return the device that ``--device`` names; of several ranks, each has a GPU of its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks.size > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"--device must be cpu, cuda or auto for several ranks, got {name}")
        name = f"cuda:{ranks.local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device must be cpu, cuda, cuda:N or auto, got {name}") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device must be cpu, cuda, cuda:N or auto, got {name}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise InputError(f"--device {name}: this machine has {count} CUDA devices")
    return device


def check_compiler(device: torch.device) -> None:
    """Refuse ``--compile`` where the first step would fail for want of a compiler."""
    if device.type == "cpu":
        name = os.environ.get("CXX") or "g++"
        if shutil.which(name) is None:
            raise InputError(f"--compile yes: no C++ compiler {name} here; CXX names another")
    elif importlib.util.find_spec("triton") is None:
        raise InputError("--compile yes: on a GPU it needs Triton, which is not installed")
