"""Models from checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snvrag.errors import InputError
from snvrag.imputation.network_model import load_network
from snvrag.io.checkpoint import load_checkpoint
from snvrag.panel.windows import WindowConfig
from snvrag.retrieval.options import RetrievalConfig
from training_runs import run_train

CPU = torch.device("cpu")


def test_a_model_has_the_weights_and_options_of_its_run(tiny_model: Path) -> None:
    model = load_network(tiny_model, CPU)
    assert not model.network.training
    assert model.device == CPU
    assert len(model.sha256) == 64
    content = load_checkpoint(tiny_model)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, content["model"][name])
    assert model.windows == WindowConfig(window_size=64)
    assert model.retrieval == RetrievalConfig(k=4)
    assert (model.network.norm.normalized_shape, len(model.network.blocks)) == ((16,), 2)


def test_options_come_from_the_checkpoint(tiny_model, monkeypatch):
    content = load_checkpoint(tiny_model)
    tables = content["config"]
    tables["windows"] |= {"flank": 7, "of_the_future": 3}
    tables["run"]["amp"] = False
    monkeypatch.setattr("snvrag.imputation.network_model.load_checkpoint", lambda *_: content)
    model = load_network(tiny_model, CPU)
    assert model.windows == WindowConfig(window_size=64, flank=7)
    assert not model.amp
    tables["network"]["width"] = 32
    with pytest.raises(InputError, match=r"^model .*: of another version"):
        load_network(tiny_model, CPU)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"^model none: no such file"):
        load_network("none", CPU)


def test_a_head_is_no_model_of_this_kind(head_arguments, tmp_path):
    run_train([*head_arguments, "--epochs", "1", "--output", str(tmp_path)])
    with pytest.raises(InputError, match="has a head trained on masks: impute without a model"):
        load_network(tmp_path / "rag_bert.model.best", CPU)
