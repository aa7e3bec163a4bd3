"""The README's commands and code are what a newcomer copies: they must be right."""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from snvrag.config.command_line import parse
from snvrag.evaluation.options import EvaluateOptions
from snvrag.imputation.options import ImputeOptions
from snvrag.prepare import PrepareOptions
from snvrag.training.options import Config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    """Lines of console blocks behind the prompt, continued lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    return [line[2:] for line in lines if line.startswith("$ ")]


def test_there_are_commands():
    assert "pip install -c constraints.txt ." in commands()
    assert "python -m snvrag.train" in commands()


PARSERS = {
    "train": partial(parse, "train", Config, ""),
    "impute": partial(parse, "impute", ImputeOptions, ""),
    "evaluate": partial(parse, "evaluate", EvaluateOptions, ""),
    "prepare": partial(parse, "prepare", PrepareOptions, ""),
}


@pytest.mark.parametrize("command", [line for line in commands() if " -m snvrag." in line])
def test_commands_parse(command):
    words = shlex.split(re.sub(r"\[.*?\]", "", command).partition(" && ")[0])
    at = next(i for i, word in enumerate(words) if word.startswith("snvrag."))
    PARSERS[words[at].removeprefix("snvrag.")](words[at + 1 :])


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_files_that_it_names_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
