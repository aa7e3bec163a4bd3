"""The stub files name what the compiled modules have, parameter by parameter."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import snvrag
from snvrag import _core

Signature = list[tuple[str, bool]]
"""Names of the parameters, and whether each has a default."""


def of_stub(node: ast.FunctionDef) -> Signature:
    arguments = node.args.args
    num_required = len(arguments) - len(node.args.defaults)
    return [(a.arg, i >= num_required) for i, a in enumerate(arguments)]


def of_module(function: object) -> Signature:
    """Read the signature that pybind11 writes to the first line of a docstring."""
    line = (function.__doc__ or "").splitlines()[0]
    inside = re.sub(r"\[[^\]]*\]", "", line[line.index("(") + 1 : line.rindex(") ->")])
    parts = [part for part in inside.split(", ") if part]
    return [(part.split(":")[0].strip(), " = " in part) for part in parts]


def stub_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return names


def compare(where: object, body: list[ast.stmt], has: set[str]) -> None:
    written = stub_names(body)
    assert set(written) == has
    for name, node in written.items():
        found = getattr(where, name)
        if isinstance(node, ast.FunctionDef):
            assert of_stub(node) == of_module(found), name
        elif isinstance(node, ast.ClassDef) and not issubclass(found, Exception):
            compare(found, node.body, {n for n in vars(found) if not n.startswith("_")})


def module(name: str) -> ModuleType:
    if name == "_cuda" and not snvrag.build_info()["cuda"]:
        pytest.skip("snvrag._cuda was not built")
    return importlib.import_module(f"snvrag.{name}")


@pytest.mark.parametrize("name", ["_core", "_cuda"])
def test_stub(name):
    compiled = module(name)
    text = (Path(_core.__file__).parent / f"{name}.pyi").read_text(encoding="utf-8")
    compare(compiled, ast.parse(text).body, {n for n in dir(compiled) if not n.startswith("_")})
