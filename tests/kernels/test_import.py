"""What importing the kernels loads, and which package it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snvrag
from snvrag import _core

KERNELS = (
    "from snvrag.kernels import (EVIDENCE, HammingIndex, HeadWeights, Phasings, Rates, States,"
    " TopK, af_guided_mask, af_guided_masks, align_sites, estimate_rates, head_log_odds,"
    " li_stephens_dosage, li_stephens_evidence, pack_haplotypes, retrieve_states, sample_phasings,"
    " topk_hamming, topk_l2, unpack_haplotypes)\n"
)


def python(code: str, *options: str, cwd: Path | None = None, **environment: str) -> str:
    """Run code in another process, where warnings are errors, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_importing_the_kernels_loads_neither_torch_nor_numba(tmp_path):
    code = KERNELS + (
        "import sys, snvrag.kernels\n"
        # importlib.metadata alone would take longer than all of snvrag.kernels.
        "heavy = ('torch', 'numba', 'llvmlite', 'cyvcf2', 'matplotlib', 'scipy', 'tqdm',"
        " 'snvrag._cuda', 'importlib.metadata', 'concurrent.futures')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "import numpy as np\n"
        "bits = pack_haplotypes(np.zeros((3, 70), np.int8))\n"
        "topk_hamming(bits, bits, 1, num_sites=70)\n"
        "topk_l2(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32), 1)\n"
        "unpack_haplotypes(bits, 70)\n"
        "align_sites(np.array([1]), np.array([1]))\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "af_guided_mask(np.full(3, .5), seed=1, window=1, rate=.5)\n"
        "print('numba' in sys.modules, 'torch' in sys.modules)\n"
        "print(set(snvrag.kernels.__all__) - set(globals()))\n"
    )
    # In a checkout, the installed package would have to be found first.
    assert python(code, cwd=tmp_path).splitlines() == ["[]", "[]", "True False", "set()"]


def test_aligning_many_sites_loads_numba():
    code = (
        "import sys\nimport numpy as np\nfrom snvrag.kernels import align_sites\n"
        "many = np.zeros(2_000_000, np.int8)\n"
        "for _ in range(2):\n"
        "    assert (align_sites(many, many[:1]) == 0).all()\n"
        "    print('numba' in sys.modules)\n"
    )
    assert python(code).splitlines() == ["False", "True"]


def bare_checkout(folder: Path) -> Path:
    """Make what a checkout looks like before a build: the Python files, no compiled module."""
    source = Path(snvrag.__file__).resolve().parent
    compiled = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.a", "include", "lib")
    shutil.copytree(source, folder / "snvrag", ignore=compiled)
    return folder


def site_packages(folder: Path) -> Path:
    """Make an installed package: the Python files, the compiled module, the metadata."""
    bare_checkout(folder)
    compiled = Path(_core.__file__)
    (folder / "snvrag" / compiled.name).symlink_to(compiled)
    metadata = folder / "snvrag-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: snvrag\nVersion: 0.1.0\n")
    return folder


WHERE = (
    "import snvrag, snvrag._core, snvrag.kernels.packing as p\n"
    "print(snvrag._core.__file__, p.__file__, snvrag.__file__, sep='\\n')\n"
    "print(snvrag.build_info()['version'], snvrag.__version__)\n"
)


def test_import_at_the_root_of_a_checkout(tmp_path):
    # `python -c` and `python -m` put the current folder first: an editable install, or the
    # installed package, has to be found all the same.
    code = KERNELS + "import numpy as np; print(pack_haplotypes(np.ones((1, 3), np.int8)))"
    assert python(code, cwd=bare_checkout(tmp_path)) == "[[7]]"
    assert python(code, cwd=Path(__file__).resolve().parents[2]) == "[[7]]"


def test_the_compiled_package_is_found_from_a_checkout_that_is_first_on_the_path(tmp_path):
    # -S: no .pth file runs, so no editable install can help.
    checkout = bare_checkout(tmp_path / "checkout")
    installed = site_packages(tmp_path / "site")
    numpy_folder = Path(np.__file__).resolve().parents[1]
    path = os.pathsep.join(map(str, (installed, numpy_folder)))
    lines = python(WHERE, "-S", cwd=checkout, PYTHONPATH=path, PYTHONSAFEPATH="").splitlines()
    assert [Path(line).parents[-2] for line in lines[:3]] == [Path(lines[0]).parents[-2]] * 3
    assert all(Path(line).is_relative_to(installed) for line in lines[:3]), lines
    assert lines[3].split()[0] == lines[3].split()[1] == "0.1.0"
    code = "import runpy, sys; runpy.run_module('snvrag.kernels.oracle');"
    code += "print(sys.modules['snvrag._core'].__file__)"
    module = python(code, "-S", cwd=checkout, PYTHONPATH=path, PYTHONSAFEPATH="")
    assert Path(module).is_relative_to(installed)


def refusal(tmp_path: Path, installed: Path) -> str:
    """Return what an import says from a bare checkout beside a package that was not built."""
    code = (
        "try:\n    import snvrag\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    # -I and -S: neither the site packages nor the environment of this interpreter.
    paths = f"import sys; sys.path[:0] = [{str(tmp_path / 'checkout')!r}, {str(installed)!r}]\n"
    return python(paths + code, "-I", "-S", cwd=tmp_path)


def test_a_checkout_that_was_never_built_says_what_to_do(tmp_path):
    bare_checkout(tmp_path / "checkout")
    said = (
        "ImportError snvrag's compiled module is missing: "
        "run 'pip install .' at the root of the checkout"
    )
    assert refusal(tmp_path, tmp_path / "nothing") == said
    installed = site_packages(tmp_path / "site")
    for compiled in (installed / "snvrag").glob("_core.*.so"):
        compiled.unlink()
    assert refusal(tmp_path, installed) == said  # a stub file is not a compiled module


def test_the_environment_chooses_the_level():
    code = "from snvrag import _core, build_info; print(build_info()['simd_level'])"
    for level, expected in ((x, x or _core.simd_levels()[-1]) for x in ["", *_core.simd_levels()]):
        assert python(code, SNVRAG_SIMD=level) == expected
    with pytest.raises(AssertionError, match=r"SNVRAG_SIMD must be one of .*, got mmx"):
        python("import snvrag.kernels", SNVRAG_SIMD="mmx")


def test_an_unknown_level_is_refused():
    before, levels = _core.simd_level(), ", ".join(_core.simd_levels())
    text = rf"must be one of this machine's levels \({levels}\)"
    for level in ("", "AVX2", "avx1024", "neon,avx2", "scalar\0"):
        with pytest.raises(ValueError, match=text):
            _core.set_simd_level(level)
    for other in (None, 0, 1.5, ["scalar"]):
        with pytest.raises(TypeError):
            _core.set_simd_level(other)
    assert _core.simd_level() == before


def test_build_info_and_headers():
    info = snvrag.build_info()
    assert info["commit"] == _core.commit
    assert info["version"] == snvrag.__version__
    assert info["simd_levels"] == _core.simd_levels()
    assert info["simd_levels"][0] == "scalar"
    assert info["simd_level"] in info["simd_levels"]
    assert isinstance(info["cuda"], bool)
    headers = Path(snvrag.get_include()) / "snvrag"
    names = {file.name for file in headers.iterdir()}
    assert {"bits.hpp", "hamming.hpp", "philox.hpp", "topk.hpp"} <= names
