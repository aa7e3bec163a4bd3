"""What the package reports of itself, and which of two packages runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import snvrag
from snvrag import _core
from snvrag._installation import version_line


def test_build_info():
    info = snvrag.build_info()
    assert set(info) == {"version", "commit", "compiler", "simd_levels", "simd_level", "cuda"}
    assert info["version"] == snvrag.__version__ == metadata.version("snvrag")
    assert info["compiler"] == _core.compiler
    assert re.fullmatch(r"unknown|[0-9a-f]{7,40}(-dirty)?", info["commit"])
    assert info["simd_level"] in info["simd_levels"]
    assert info["simd_levels"][0] in ("scalar", "neon")
    assert isinstance(info["cuda"], bool)


def test_build_info_follows_the_level_in_use():
    before = _core.simd_level()
    try:
        for level in snvrag.build_info()["simd_levels"]:
            _core.set_simd_level(level)
            assert snvrag.build_info()["simd_level"] == level
    finally:
        _core.set_simd_level(before)


def test_every_door_prints_its_version_without_torch(tmp_path):
    script = (
        "import sys\n"
        "from importlib import import_module\n"
        "for name in ('__main__', 'train', 'impute', 'evaluate', 'prepare'):\n"
        "    try:\n"
        "        import_module(f'snvrag.{name}').main(['--version'])\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code\n"
        "print('torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = ran.stdout.splitlines()
    assert lines == [version_line()] * 5 + ["False"]
    info = snvrag.build_info()
    assert lines[0] == (
        f"snvrag {info['version']} (commit {info['commit']}, {info['simd_level']}), "
        f"Python {sys.version.split()[0]}, torch {metadata.version('torch')}"
    )


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("git")), reason="needs CMake, Git")
def test_the_commit_is_that_of_the_checkout_when_it_is_configured(tmp_path):
    script = tmp_path / "checkout" / "csrc" / "commit.cmake"
    script.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "csrc" / "commit.cmake", script)

    def git(folder: Path, *arguments: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", *author, *arguments]
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(folder: Path, *options: str) -> str:
        git(folder, "add", ".")
        git(folder, "commit", "--message", "one", *options)
        return git(folder, "rev-parse", "--short", "HEAD")

    def configured(*options: str) -> str:
        command = ["cmake", *options, "-P", str(script)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        assert ran.stderr == ""
        return ran.stdout.strip().removeprefix("-- snvrag: commit ")

    assert configured() == "unknown"
    git(tmp_path, "init")  # the repository of another project, which has a copy of this one
    commit(tmp_path)
    assert configured() == "unknown"
    git(script.parents[1], "init")
    assert configured() == "unknown"  # a repository without a commit
    first = commit(script.parents[1])
    assert configured() == first
    second = commit(script.parents[1], "--allow-empty")
    assert configured() == second != first
    script.write_text(script.read_text() + "\n")
    assert configured() == f"{second}-dirty"
    assert configured("-DCMAKE_DISABLE_FIND_PACKAGE_Git=ON") == "unknown"


def test_headers_are_where_get_include_says():
    folder = Path(snvrag.get_include()) / "snvrag"
    assert (folder / "bits.hpp").is_file()
    assert (folder / "philox.hpp").is_file()


@pytest.fixture(scope="module")
def two_packages(tmp_path_factory) -> tuple[Path, Path, dict[str, str]]:
    """A checkout without compiled module, and a folder of installed packages with it."""
    root = tmp_path_factory.mktemp("two")
    checkout, site = root / "checkout", root / "site"
    sources = Path(snvrag.__file__).parent
    leave = shutil.ignore_patterns("__pycache__", "_core*.so", "_cuda*.so")
    shutil.copytree(sources, checkout / "snvrag", ignore=leave)
    shutil.copytree(sources, site / "snvrag", ignore=leave)
    for module in Path(_core.__file__).parent.glob("_c*.so"):
        shutil.copy(module, site / "snvrag")
    information = site / "snvrag-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: snvrag\nVersion: 0.1.0\n")
    (information / "RECORD").write_text("snvrag/__init__.py,,\n")
    others = Path(pytest.__file__).parents[1]
    environment = {
        **os.environ,
        # -S keeps an editable installation's finder out.
        "PYTHONPATH": os.pathsep.join([str(site), str(others)]),
        "OMP_NUM_THREADS": "1",
    }
    return checkout, site, environment


def test_at_the_root_of_a_checkout_the_installed_package_runs(two_packages):
    """Its code, its compiled module and its data: none of it may come from the folder."""
    checkout, site, environment = two_packages
    code = (
        "import snvrag, snvrag.io.reading, snvrag.demo;"
        "print(snvrag.io.reading.__file__, snvrag._core.__file__, snvrag.demo.demo_file('x'))"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert all(path.startswith(str(site)) for path in ran.stdout.split()), ran.stdout


@pytest.mark.parametrize("where", ["checkout", "elsewhere"])
def test_training_starts_at_the_root_of_a_checkout(two_packages, tmp_path, tiny_arguments, where):
    checkout, _, environment = two_packages
    folder = checkout if where == "checkout" else tmp_path
    arguments = [*tiny_arguments, "--epochs", "1", "--output", str(tmp_path / "out")]
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "snvrag.train", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert "Epoch 1/1" in ran.stdout
    assert (tmp_path / "out" / "rag_bert.model.ep0").is_file()
    assert sorted(path.name for path in folder.iterdir() if path.name != "out") == (
        ["snvrag"] if where == "checkout" else []
    )


def test_a_checkout_that_was_never_built_says_so(two_packages, tmp_path):
    checkout, _, environment = two_packages
    others = environment["PYTHONPATH"].split(os.pathsep)[1]
    code = (
        "import sys; from importlib import metadata\n"
        "metadata.distributions = lambda **_: []\n"
        "try:\n    import snvrag\nexcept ImportError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=checkout,
        env={**environment, "PYTHONPATH": others},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install" in ran.stdout, ran.stderr
