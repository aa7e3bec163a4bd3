"""Other people's projects, in Python and C++, build against the installed package and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snvrag
from snvrag import kernels

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE / "downstream"
CPP = EXAMPLES / "cpp"
INCLUDE = snvrag.get_include()


def run(*command: str | Path, **keywords) -> str:
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **keywords
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


# --- Python ---------------------------------------------------------------------------------------


def test_a_python_project(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLES / "python", source)  # a build leaves its traces there
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "install", "-q", *options, "--target", site, source)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    said = run(
        *(sys.executable, "-W", "error", "-m", "nearest_ancestor"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert said == "[7, 42]\n"


# --- C++ ------------------------------------------------------------------------------------------


def program(name: str, of: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {of} here")
    return found


@pytest.fixture
def compiler() -> list[str]:
    command = os.environ.get("CXX", "c++").split()
    return [program(command[0], "C++ compiler"), *command[1:], "-std=c++17", "-Wall", "-Werror"]


def test_headers_by_the_include_path_alone(compiler, tmp_path):
    run(*compiler, "-I", INCLUDE, CPP / "headers_only.cpp", "-o", tmp_path / "headers_only")
    said = run(tmp_path / "headers_only").strip()
    af = np.full(130, 0.5)
    mask = kernels.af_guided_mask(af, seed=1, window=10_007, rate=0.5)
    assert said == "".join("01"[hidden] for hidden in mask.tolist())


def test_each_header_stands_alone(compiler, tmp_path):
    names = sorted(file.name for file in (Path(INCLUDE) / "snvrag").glob("*.hpp"))
    assert "hamming.hpp" in names
    for name in names:
        # Twice, for the include guard; first, so that it has what it needs.
        (tmp_path / f"{name}.cpp").write_text(f'#include "snvrag/{name}"\n' * 2)
    run(*compiler, "-I", INCLUDE, "-fsyntax-only", *tmp_path.glob("*.cpp"))


def expected() -> str:
    alleles = np.arange(70) * (np.arange(20)[:, None] + 3) % 7 < 3
    bits = kernels.pack_haplotypes(alleles)
    found = kernels.topk_hamming(bits[:1], bits, 3, num_sites=70)
    pairs = zip(found.distances[0].tolist(), found.indices[0].tolist(), strict=True)
    return "".join(f"{distance} {index}\n" for distance, index in pairs)


def test_the_library_without_cmake(compiler, tmp_path):
    library = Path(INCLUDE).parent / "lib" / "libsnvrag_cpu.a"
    program_file = tmp_path / "search"
    run(*compiler, "-I", INCLUDE, CPP / "search.cpp", library, "-pthread", "-o", program_file)
    for level in snvrag.build_info()["simd_levels"]:
        assert run(program_file, env={**os.environ, "SNVRAG_SIMD": level}) == expected()


@pytest.mark.parametrize("way", ["find_package", "add_subdirectory"])
def test_the_library_by_cmake(compiler, tmp_path, way):
    where = {
        "find_package": f"-Dsnvrag_DIR={snvrag.get_cmake_dir()}",
        "add_subdirectory": f"-DSNVRAG_SOURCE={HERE.parent}",
    }[way]
    cmake = program("cmake", "CMake")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    # Debug: the library's own files compile faster unoptimised.
    run(
        *(cmake, "-S", CPP, "-B", tmp_path, *generator, "-DCMAKE_BUILD_TYPE=Debug", where),
        f"-DCMAKE_CXX_COMPILER={compiler[0]}",
    )
    run(cmake, "--build", tmp_path)
    assert run(tmp_path / "search") == expected()
    assert not list(tmp_path.rglob("_core*")), "the Python modules are no part of a C++ project"
