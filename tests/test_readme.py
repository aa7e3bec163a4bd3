"""The commands and code of the README and of docs/ are what people copy: they must be right."""

import os
import re
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from snvrag import log
from snvrag.config.command_line import parse
from snvrag.evaluation.options import EvaluateOptions
from snvrag.imputation.options import ImputeOptions
from snvrag.prepare import PrepareOptions
from snvrag.training import trainer as trainer_module
from snvrag.training.options import Config
from training_runs import ended_train

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
FROM_V18 = ROOT / "docs" / "coming_from_v18.md"
PAGES = {path.name: path for path in (README, *sorted((ROOT / "docs").glob("*.md")))}


def console(path: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of a page's console blocks, and the lines of output below each."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", path.read_text("utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line:
                found[-1][1].append(line)
    return found


def test_there_are_commands():
    commands = [command for command, _ in console(README)]
    assert "pip install -c constraints.txt ." in commands
    assert "python -m snvrag.train" in commands


PARSERS = {
    "train": partial(parse, "train", Config, ""),
    "impute": partial(parse, "impute", ImputeOptions, ""),
    "evaluate": partial(parse, "evaluate", EvaluateOptions, ""),
    "prepare": partial(parse, "prepare", PrepareOptions, ""),
}


@pytest.mark.parametrize("command", [line for line, _ in console(README) if " -m snvrag." in line])
def test_commands_parse(command):
    words = shlex.split(re.sub(r"\[.*?\]", "", command).partition(" && ")[0])
    at = next(i for i, word in enumerate(words) if word.startswith("snvrag."))
    PARSERS[words[at].removeprefix("snvrag.")](words[at + 1 :])


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_files_that_it_names_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[name].read_text("utf-8")):
        if not target.startswith("http"):
            assert (PAGES[name].parent / target).exists(), target


# --- coming from V18: its commands are run, one after the other -----------------------------------

# Appended to the commands of training: a small network stops after two epochs.
SMALL = shlex.split(
    "--window-size 64 --width 16 --layers 2 --heads 2 --epochs 3 --warmup-steps 4 --threads 1 "
    "--patience 1 --min-gain 0.9"
)


@pytest.fixture
def v18_folder(tmp_path, tiny_vcf):
    """A folder with what a user of V18 has: panel, tables of samples, and a checkpoint."""
    (tmp_path / "panel.vcf.gz").write_bytes(tiny_vcf.read_bytes())
    for name, samples in (("train", range(4, 24)), ("val", range(4))):
        rows = [f"s{i} P{i % 2} SUPER{i % 2}" for i in samples]
        (tmp_path / f"{name}_panel.txt").write_text("\n".join(["sample pop super_pop", *rows]))
    (tmp_path / "v18").mkdir()
    torch.save(torch.nn.Linear(2, 2), tmp_path / "v18" / "rag_bert.model.ep0")
    return tmp_path


def alike(line: str) -> str:
    """Return a line of output without numbers and the build."""
    return re.sub(r"\d+(\.\d+)*(\+cpu)?|\bnan\b", "N", re.sub(r"\(commit .*?\)", "", line)).strip()


def run(command: str) -> str:
    """Run a command of the page; return what it printed."""
    if command.startswith("python -m snvrag.train "):
        code, printed = ended_train([*shlex.split(command)[3:], *SMALL])
        assert code in (0, 2, 130), printed
        return printed.out + printed.err
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


def test_commands_for_users_of_v18(v18_folder, monkeypatch):
    monkeypatch.chdir(v18_folder)
    monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0)
    foreign = (v18_folder / "v18" / "rag_bert.model.ep0").read_bytes()
    step, steps = trainer_module.optimizer_step, []

    def interrupted(*arguments):
        step(*arguments)
        steps.append(None)
        if len(steps) == 8:  # in the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(trainer_module, "optimizer_step", interrupted)
    text = FROM_V18.read_text("utf-8").replace("\\|", "|")
    searches = set(re.findall(r"`((?:grep|tail -n) [^`]*run/[^`]*)`", text))
    assert len(searches) > 10
    for command, expected in console(FROM_V18):
        printed = run(command)
        lines = {alike(line) for line in printed.splitlines()}
        assert [line for line in expected if alike(line) not in lines] == [], command + printed
        searches = {search for search in searches if not run(search)}
    assert searches == set()  # each of the table has found something at some time
    assert len(steps) > 8
    assert (v18_folder / "v18" / "rag_bert.model.ep0").read_bytes() == foreign
    code, _ = ended_train(["--output", "v18", "--resume", "auto", *SMALL])
    assert code == 2
    assert (v18_folder / "v18" / "rag_bert.model.ep0").read_bytes() == foreign
