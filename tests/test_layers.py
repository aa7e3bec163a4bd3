"""Arrows between folders point one way, and private names stay in their folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "snvrag"
FILES = sorted(FOLDER.rglob("*.py"))
# A folder, or module beside the folders, imports only from those in earlier rows.
ROWS = [
    {"_core", "_cuda"},  # the compiled modules, whose interface is their stub files
    {"errors"},
    {"log", "demo"},
    {"config"},
    {"kernels"},
    {"panel"},
    {"io", "torch_ops"},
    {"li_stephens"},
    {"batches"},
    {"retrieval", "network"},
    {"evaluation"},
    {"training", "imputation"},
    {"train", "impute", "evaluate", "prepare"},
    {"__main__"},
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row}


def room(path: Path) -> str:
    """Return the folder of a file, or its name if it is beside the folders."""
    return path.relative_to(FOLDER).parts[0].removesuffix(".py")


def arrows() -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield (file, its room, room imported from, names) of all imports within the package."""
    for path in FILES:
        here = path.relative_to(FOLDER).parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            module = node.module.split(".") if node.module else []
            if node.level:
                module = [*here[: len(here) - node.level], *module]
            elif module[:1] == ["snvrag"]:
                module = module[1:]
            else:
                continue
            names = [alias.name for alias in node.names]
            for there in module[:1] or names:
                yield str(path.relative_to(FOLDER)), room(path), there, names


def test_arrows_point_one_way() -> None:
    wrong = [
        f"{file}: {there}"
        for file, here, there, _ in arrows()
        if here != there and here in ROW and there in ROW and ROW[there] >= ROW[here]
    ]
    assert wrong == []


def test_every_room_has_a_place() -> None:
    rooms = {room(path) for path in FILES}
    assert rooms - ROW.keys() <= {"__init__", "_installation"}


def test_private_names_stay_in_their_folder() -> None:
    wrong = [
        f"{file}: {there}.{name}"
        for file, here, there, names in arrows()
        for name in names
        if here != there and name.startswith("_") and name not in ROW
    ]
    assert wrong == []
