"""Ways to impute a target, with the time and, of a whole process, the memory that each takes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from accuracy_data import Split, copy_nearest, write_frequencies, write_panel
from numpy.typing import NDArray

from snvrag.errors import InputError

METHODS = (
    "frequency", "copy-whole", "copy-1020", "copy-510", "copy-255", "minimac4", "minimac4-map",
    "beagle", "beagle-map", "snvrag", "snvrag-map",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """Held-out samples of which some sites are observed.

    Attributes
    ----------
    folder : Path
        Of its files: ``target.vcf.gz`` and what the methods make of it.
    observed : (S,) bool
        Of the panel's sites.
    """

    folder: Path
    observed: NDArray[np.bool_]

    @property
    def path(self) -> Path:
        """The file that imputation programs are given."""
        return self.folder / "target.vcf.gz"


@dataclass(frozen=True)
class Cost:
    """What a method took.

    Attributes
    ----------
    command : str
        How it was run, by which a finished run is known again.
    wall_seconds : float
    peak_mib : float or None
        Largest resident set of the process; None for work in this process.
    """

    command: str
    wall_seconds: float
    peak_mib: float | None


# A process counts the memory of the one that started it until it runs its own program: a small one
# in between keeps this process's arrays out of the peak.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
with open(sys.argv[1], "w") as report:
    json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss], report)
"""


def run_process(command: list[str], log: Path, threads: int, stdout: Path | None = None) -> Cost:
    """Run a program to its end, its output in a log; raise RuntimeError where it fails."""
    report = log.with_name(log.name + ".usage.json")
    report.unlink(missing_ok=True)
    with log.open("wb") as errors, (stdout or Path(os.devnull)).open("wb") as out:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *command],
            stdin=subprocess.DEVNULL, stdout=out if stdout else errors, stderr=errors, check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
    code, seconds, peak = (
        json.loads(report.read_text(encoding="utf-8")) if report.exists() else (1, 0.0, 0)
    )
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise RuntimeError(f"exit code {code}: {lines[-1]} (see {log})")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(shlex.join(command), seconds, peak / unit)


class Methods:
    """Runs methods on targets; what is finished in the folder is not run again."""

    def __init__(
        self,
        folder: Path,
        split: Split,
        *,
        threads: int = 1,
        has_map: bool = False,
        model: str = "",
        train_options: str = "",
        impute_options: str = "",
    ) -> None:
        self.folder, self.split, self.threads, self.has_map = folder, split, threads, has_map
        self.model = model
        self.train_options, self.impute_options = train_options, impute_options
        self.panel_path, self.map_path = folder / "panel.vcf.gz", folder / "map.plink"

    def why_not(self, name: str) -> str | None:
        """Return why a method cannot be run here, or None."""
        base = name.removesuffix("-map")
        if base != name and not self.has_map:
            return "no --map"
        if base in ("minimac4", "beagle") and shutil.which(base) is None:
            return f"{base} is not installed"
        return None

    def run(self, name: str, target: Target) -> tuple[Path, Cost, Cost | None]:
        """Return the imputed file, what it took, and what was needed once before (or None).

        Raises
        ------
        RuntimeError
            If the program fails.
        """
        output = target.folder / f"{name}.vcf.gz"
        log = target.folder / f"{name}.log"
        if name == "frequency":
            frequencies = lambda: write_frequencies(  # noqa: E731
                output, self.split.panel, self.split.truth, target.observed
            )
            return output, self._own(output, name, frequencies), None
        if name.startswith("copy-"):
            return output, self._own(output, name, lambda: self._copy(name, target, output)), None
        before, prepared, command = self._command(name, target, output)
        return output, self._once(output, command, log, prepared), before

    def _command(
        self, name: str, target: Target, output: Path
    ) -> tuple[Cost | None, Path | None, list[str]]:
        """Do what is needed once before; return what it took, what it made, and the command."""
        if name.startswith("minimac4"):
            prepared = self.folder / "panel.msav"
            before = self._once(
                prepared, ["minimac4", "--compress-reference", str(self.panel_path)],
                self.folder / "panel.msav.log", to_stdout=True,
            )  # fmt: skip
            command = [
                "minimac4", str(prepared), str(target.path), "-o", str(output), "-O", "vcf.gz",
                "-f", "GT,DS,HDS,GP", "--threads", str(self.threads),
            ]  # fmt: skip
            if name.endswith("-map"):
                command += ["--map", str(self.map_path)]
            return before, prepared, command
        if name.startswith("beagle"):
            command = [
                "beagle", f"gt={target.path}", f"ref={self.panel_path}",
                f"out={str(output).removesuffix('.vcf.gz')}", f"nthreads={self.threads}",
            ]  # fmt: skip
            if name.endswith("-map"):
                command.append(f"map={self.map_path}")
            return None, None, command
        training: Cost | None = None
        model = Path(self.model)
        if not self.model:
            model = self.folder / "model" / "rag_bert.model.best"
            command = [
                sys.executable, "-m", "snvrag.train", "--panel", str(self.panel_path),
                "--output", str(model.parent), "--overwrite", "yes",
                "--threads", str(self.threads), *shlex.split(self.train_options),
            ]  # fmt: skip
            training = self._once(model, command, self.folder / "train.log")
        # The map is for imputing: the model is trained without.
        genetic_map = ["--genetic-map", str(self.map_path)] if name.endswith("-map") else []
        return training, model, [
            sys.executable, "-m", "snvrag.impute", "--panel", str(self.panel_path),
            "--target", str(target.path), "--model", str(model), "--output", str(output),
            "--overwrite", "--threads", str(self.threads), *genetic_map,
            *shlex.split(self.impute_options),
        ]  # fmt: skip

    def _copy(self, name: str, target: Target, output: Path) -> None:
        window = name.removeprefix("copy-")
        size = self.split.panel.num_sites if window == "whole" else int(window)
        copied = copy_nearest(self.split.panel, self.split.truth, target.observed, size)
        write_panel(output, copied, target.observed)

    def _once(
        self, output: Path, command: list[str], log: Path, prepared: Path | None = None,
        *, to_stdout: bool = False,
    ) -> Cost:  # fmt: skip
        """Run a program, or return what it took when it made that file of the same before."""
        finished = _finished(output, shlex.join(command), prepared)
        if finished is None:
            _record(output).unlink(missing_ok=True)
            stdout = output if to_stdout else None
            finished = run_process(command, log, self.threads, stdout)
            _finish(output, finished)
        return finished

    def _own(self, output: Path, name: str, work: Callable[[], None]) -> Cost:
        finished = _finished(output, name)
        if finished is None:
            started = time.perf_counter()
            work()
            finished = Cost(name, time.perf_counter() - started, None)
            _finish(output, finished)
        return finished


def _record(output: Path) -> Path:
    return output.with_name(output.name + ".cost.json")


def _finished(output: Path, command: str, prepared: Path | None = None) -> Cost | None:
    """Return what a run of that very command took, if nothing it used is newer."""
    record = _record(output)
    if not output.exists() or not record.exists():
        return None
    if prepared and prepared.exists() and prepared.stat().st_mtime_ns > record.stat().st_mtime_ns:
        return None
    try:
        cost = Cost(**json.loads(record.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise InputError(f"{record}: not a record of a run: remove it") from None
    return cost if cost.command == command else None


def _finish(output: Path, cost: Cost) -> None:
    if not output.exists():
        raise RuntimeError(f"'{cost.command}' ended well without writing {output}")
    _record(output).write_text(json.dumps(asdict(cost), indent=1) + "\n", encoding="utf-8")
