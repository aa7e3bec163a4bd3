"""Models from checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snvrag.errors import InputError
from snvrag.imputation.network_model import load_network
from snvrag.io.checkpoint import load_checkpoint
from snvrag.kernels import HeadWeights
from snvrag.panel.windows import WindowConfig
from snvrag.retrieval.options import RetrievalConfig

CPU = torch.device("cpu")


def test_a_model_has_the_weights_and_options_of_its_run(tiny_model: Path) -> None:
    model = load_network(tiny_model, "cpu")
    assert not model.network.training
    assert model.device == CPU
    assert len(model.sha256) == 64
    content = load_checkpoint(tiny_model)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, content["model"][name])
    assert model.windows == WindowConfig(window_size=64)
    assert model.retrieval == RetrievalConfig(k=4)
    assert model.network.norm.normalized_shape == (16,)


def test_options_come_from_the_checkpoint(tiny_model, monkeypatch):
    content = load_checkpoint(tiny_model)
    tables = content["config"]
    tables["retrieval"] |= {"k": 4, "cache_mb": 7.0, "of_the_future": 3}
    tables["run"]["amp"] = False
    monkeypatch.setattr("snvrag.imputation.network_model.load_checkpoint", lambda *_: content)
    model = load_network(tiny_model, "cpu")
    assert model.retrieval == RetrievalConfig(k=4, cache_mb=7.0)
    assert not model.amp
    tables["network"]["width"] = 32
    with pytest.raises(InputError, match=r"^model .*: of another version"):
        load_network(tiny_model, "cpu")
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^model none: no such file"):
        load_network("none", "cpu")


def test_the_weights_of_a_head(head_model: Path) -> None:
    """What it was trained with of a panel, its rates, is left."""
    weights = load_checkpoint(head_model)["model"]
    head = load_network(head_model, "cpu")
    assert isinstance(head, HeadWeights)
    assert np.array_equal(head.hidden_weight.T, weights["head.hidden.weight"].numpy())
    assert np.array_equal(head.mean, weights["head.mean"].numpy())


def test_a_head_of_other_evidence_is_refused(head_model, monkeypatch):
    content = load_checkpoint(head_model)
    content["model"]["head.mean"] = torch.zeros(1)
    monkeypatch.setattr("snvrag.imputation.network_model.load_checkpoint", lambda *_: content)
    with pytest.raises(InputError, match=r"^model .*: of another version"):
        load_network(head_model, "cpu")
