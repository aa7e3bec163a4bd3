"""The examples in the docstrings are run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

from snvrag import kernels

MODULES = [
    "snvrag._installation",
    "snvrag.kernels",
    *(f"snvrag.kernels.{module.name}" for module in pkgutil.iter_modules(kernels.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, capsys):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", kernels.__all__)
def test_every_public_kernel_is_documented_with_an_example(name):
    documented = getattr(kernels, name)
    if name == "EVIDENCE":
        explained = inspect.getdoc(kernels.li_stephens_evidence)
        assert all(column in explained for column in documented)
        return
    text = inspect.getdoc(documented) or ""
    assert len(text.partition("\n")[0]) > 10
    if name in ("TopK", "Rates", "States", "HeadWeights", "Phasings"):
        return
    assert ">>> " in text
    for section in ("Parameters", "Raises", "Notes", "Examples"):
        assert f"\n{section}\n---" in text, section
    if not inspect.isclass(documented):
        assert "\nReturns\n---" in text
        parameters = text[text.index("\nParameters\n") : text.index("\nReturns\n")]
        for argument in inspect.signature(documented).parameters:
            assert re.search(rf"^[\w, ]*\b{argument}\b", parameters, re.MULTILINE), argument
