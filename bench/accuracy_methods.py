"""Methods of imputation, with the time of each and, for a process, its peak memory."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accuracy_data import Split, copy_nearest, index, write_frequencies, write_panel
from numpy.typing import NDArray

from snvrag.errors import InputError
from snvrag.io.model_file import load_model_file, save_model
from snvrag.panel.panel import Panel

NEAREST = ("nearest-whole", "nearest-1020", "nearest-510", "nearest-255")
# Programs that a method needs, in the order in which they are run.
NEEDED = {
    "minimac4": ("minimac4",),
    "beagle": ("beagle",),
    "shapeit4-minimac4": ("shapeit4", "minimac4"),
    "eagle-minimac4": ("bio-eagle", "minimac4"),
}
PHASING = ("shapeit4-minimac4", "eagle-minimac4")
PEERS = tuple(name + end for name in NEEDED for end in ("", "-map"))
# With a model learned from the panel, with that model given (and a prepared panel), and with its
# rates but not its head: what the head is given.
SNVRAG = ("snvrag", "snvrag-map", "snvrag-saved", "li-stephens", "li-stephens-map")
PROGRAMS = (*PEERS, *SNVRAG)
METHODS = ("frequency", *NEAREST, *PROGRAMS)


@dataclass(frozen=True)
class Target:
    """The held-out samples at some of the panel's sites, (S,) bool: the typed ones.

    The folder holds ``target.vcf.gz`` and what the methods make of it. ``samples`` has the phase
    of that file, at all sites; None where the file has none.
    """

    folder: Path
    observed: NDArray[np.bool_]
    samples: Panel | None

    @property
    def path(self) -> Path:
        """The file that is imputed."""
        return self.folder / "target.vcf.gz"


@dataclass(frozen=True)
class Cost:
    """The command line of a process, or a method's name, and the cost of one run of it.

    A finished run is not repeated where the command is the same. CPU seconds are those of user and
    system. The peak is the largest resident set of the process; None for work in this process.
    """

    command: str
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float | None


class Result(NamedTuple):
    """The imputed file, that with the phase of the typed sites, and the costs.

    The two are one, except that Minimac4 imputes with the phase that it is given, whatever it
    writes. ``before`` is the cost of preparing the panel, or None.
    """

    imputed: Path
    phased: Path
    cost: Cost
    before: Cost | None = None


# Until a process runs its own program, the memory of its parent counts as its own. A small process
# in between keeps the arrays of this one out of the peak.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
with open(sys.argv[1], "w") as report:
    cpu = usage.ru_utime + usage.ru_stime
    json.dump([os.waitstatus_to_exitcode(status), seconds, cpu, usage.ru_maxrss], report)
"""


def run_process(command: list[str], log: Path, threads: int, stdout: Path | None = None) -> Cost:
    """Run a program with its output in a log; raise RuntimeError where it fails."""
    report = log.with_name(log.name + ".usage.json")
    report.unlink(missing_ok=True)
    with log.open("wb") as errors, (stdout or Path(os.devnull)).open("wb") as out:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *command],
            stdin=subprocess.DEVNULL,
            stdout=out if stdout else errors,
            stderr=errors,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
    code, seconds, cpu, peak = (
        json.loads(report.read_text(encoding="utf-8")) if report.exists() else (1, 0.0, 0.0, 0)
    )
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise RuntimeError(f"exit code {code}: {lines[-1]} (see {log})")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(shlex.join(command), seconds, cpu, peak / unit)


@dataclass(frozen=True)
class Methods:
    """Runs methods on targets, and none again whose result is in the folder.

    The folder holds the panel and, with ``has_map``, the genetic map. ``unphased`` says that the
    targets have no phase. ``impute_options`` are further ones of `snvrag.impute`, as in a shell.
    """

    folder: Path
    split: Split
    threads: int = 1
    has_map: bool = False
    unphased: bool = False
    impute_options: str = ""

    @property
    def panel_path(self) -> Path:
        """The reference samples, as VCF."""
        return self.folder / "panel.vcf.gz"

    @property
    def map_path(self) -> Path:
        """The genetic map, in PLINK's format."""
        return self.folder / "map.plink"

    def why_not(self, name: str) -> str | None:
        """Return why a method cannot be run here, or None."""
        base = name.removesuffix("-map")
        if base != name and not self.has_map:
            return "no --map"
        if base in PHASING and not self.unphased:
            return "the target is phased"
        if (base in NEAREST or base == "minimac4") and self.unphased:
            return "it needs a phased target"
        absent = [program for program in NEEDED.get(base, ()) if shutil.which(program) is None]
        return f"{absent[0]} is not installed" if absent else None

    def run(self, name: str, target: Target) -> Result:
        """Impute a target by a method.

        Raises
        ------
        RuntimeError
            If the program fails.
        """
        output = target.folder / f"{name}.vcf.gz"
        if name not in PROGRAMS:
            impute = self._write_frequencies if name == "frequency" else self._copy_nearest
            cost = self._work(output, name, lambda: impute(name, target, output))
            return Result(output, output, cost)
        base = name.removesuffix("-map")
        genetic_map = self.map_path if base != name else None
        if base in PHASING:
            return self._phase_and_impute(name, target, output, genetic_map)
        prepared, before, phased = None, None, output
        if base == "beagle":
            command = self._beagle(target, output, genetic_map)
        elif base == "minimac4":
            prepared, before = self._compressed_panel()
            phased = target.path
            command = self._minimac4(prepared, phased, output, genetic_map)
        else:
            if base == "snvrag-saved":
                prepared, before = self._prepared_panel()
            command = self._snvrag(name, target, output, genetic_map)
        log = target.folder / f"{name}.log"
        return Result(output, phased, self._process(output, command, log, prepared), before)

    def _phase_and_impute(
        self, name: str, target: Target, output: Path, genetic_map: Path | None
    ) -> Result:
        """Phase a target and have Minimac4 impute it; the cost is that of both."""
        phased = target.folder / f"{name.replace('minimac4', 'phased')}.vcf.gz"
        phase = self._shapeit4 if name.startswith("shapeit4") else self._eagle
        log = phased.with_name(f"{name}.phasing.log")
        first = self._process(phased, phase(target, phased, genetic_map), log)
        index(phased)
        panel, before = self._compressed_panel()
        command = self._minimac4(panel, phased, output, genetic_map)
        then = self._process(output, command, target.folder / f"{name}.log", phased)
        cost = Cost(
            f"{first.command} && {then.command}",
            first.wall_seconds + then.wall_seconds,
            first.cpu_seconds + then.cpu_seconds,
            max(first.peak_mib or 0, then.peak_mib or 0),
        )
        return Result(output, phased, cost, before)

    # --- Programs ---------------------------------------------------------------------------------

    def _beagle(self, target: Target, output: Path, genetic_map: Path | None) -> list[str]:
        return [
            "beagle",
            f"gt={target.path}",
            f"ref={self.panel_path}",
            f"out={str(output).removesuffix('.vcf.gz')}",
            f"nthreads={self.threads}",
            *([f"map={genetic_map}"] if genetic_map else []),
        ]

    def _shapeit4(self, target: Target, output: Path, genetic_map: Path | None) -> list[str]:
        return [
            *("shapeit4", "--input", str(target.path), "--reference", str(self.panel_path)),
            *("--region", self.split.panel.chrom, "--output", str(output)),
            *("--thread", str(self.threads)),
            *(["--map", str(genetic_map.with_suffix(".shapeit4"))] if genetic_map else []),
        ]

    def _eagle(self, target: Target, output: Path, genetic_map: Path | None) -> list[str]:
        rates = genetic_map.with_suffix(".eagle") if genetic_map else self.folder / "uniform.eagle"
        return [
            *("bio-eagle", "--vcfTarget", str(target.path), "--vcfRef", str(self.panel_path)),
            *("--geneticMapFile", str(rates), "--numThreads", str(self.threads)),
            *("--outPrefix", str(output).removesuffix(".vcf.gz"), "--vcfOutFormat", "z"),
        ]

    def _compressed_panel(self) -> tuple[Path, Cost]:
        """Return Minimac4's own form of the panel, and what it cost."""
        path = self.folder / "panel.msav"
        command = ["minimac4", "--compress-reference", str(self.panel_path)]
        log = self.folder / "panel.msav.log"
        return path, self._process(path, command, log, to_stdout=True)

    def _minimac4(
        self, panel: Path, target: Path, output: Path, genetic_map: Path | None
    ) -> list[str]:
        return [
            *("minimac4", str(panel), str(target)),
            *("-o", str(output), "-O", "vcf.gz", "-f", "GT,DS,HDS,GP"),
            *("--threads", str(self.threads)),
            *(["--map", str(genetic_map)] if genetic_map else []),
        ]

    def _prepared_panel(self) -> tuple[Path, Cost]:
        """Return the panel as `snvrag prepare` writes it, and what it cost."""
        path = self.folder / "panel.snvrag"
        command = [sys.executable, "-m", "snvrag.prepare", str(self.panel_path), str(path)]
        return path, self._process(path, command, self.folder / "prepare.log")

    def _snvrag(
        self, name: str, target: Target, output: Path, genetic_map: Path | None
    ) -> list[str]:
        learned = target.folder / f"snvrag{'-map' if genetic_map else ''}.safetensors"
        panel, model = self.panel_path, ["--save-model", str(learned)]
        if name == "snvrag-saved":
            panel, model = self.folder / "panel.snvrag", ["--model", str(learned)]
        elif name.startswith("li-stephens"):
            model = ["--model", str(_without_head(learned))]
        return [
            *(sys.executable, "-m", "snvrag.impute", "--panel", str(panel)),
            *("--target", str(target.path), *model),
            *("--output", str(output), "--overwrite", "--threads", str(self.threads)),
            *(["--genetic-map", str(genetic_map)] if genetic_map else []),
            *shlex.split(self.impute_options),
        ]

    def _process(
        self,
        output: Path,
        command: list[str],
        log: Path,
        prepared: Path | None = None,
        *,
        to_stdout: bool = False,
    ) -> Cost:
        """Run a program, unless the same command has already made the file from the same input."""
        finished = _finished(output, shlex.join(command), prepared)
        if finished is None:
            _record(output).unlink(missing_ok=True)
            stdout = output if to_stdout else None
            finished = run_process(command, log, self.threads, stdout)
            _finish(output, finished)
        return finished

    # --- In this process --------------------------------------------------------------------------

    def _write_frequencies(self, _name: str, target: Target, output: Path) -> None:
        write_frequencies(output, self.split.panel, self.split.truth, target.observed)

    def _copy_nearest(self, name: str, target: Target, output: Path) -> None:
        window = name.removeprefix("nearest-")
        size = self.split.panel.num_sites if window == "whole" else int(window)
        assert target.samples is not None
        copied = copy_nearest(self.split.panel, target.samples, target.observed, size)
        write_panel(output, copied, target.observed)

    def _work(self, output: Path, name: str, work: Callable[[], None]) -> Cost:
        finished = _finished(output, name)
        if finished is None:
            started, used = time.perf_counter(), time.process_time()
            work()
            cpu_seconds = time.process_time() - used
            finished = Cost(name, time.perf_counter() - started, cpu_seconds, None)
            _finish(output, finished)
        return finished


def _without_head(path: Path) -> Path:
    """Write the rates of a model file to another, and return that."""
    if not path.exists():
        raise RuntimeError(f"{path.stem} has to be run first")
    rates = path.with_name(path.name.replace("snvrag", "rates"))
    save_model(rates, replace(load_model_file(path), head=None))
    return rates


def _record(output: Path) -> Path:
    return output.with_name(output.name + ".cost.json")


def _finished(output: Path, command: str, prepared: Path | None = None) -> Cost | None:
    """Return the cost of the run that made a file, or None where it has to be run again."""
    record = _record(output)
    if not output.exists() or not record.exists():
        return None
    if prepared and prepared.exists() and prepared.stat().st_mtime_ns > record.stat().st_mtime_ns:
        return None
    try:
        cost = Cost(**json.loads(record.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise InputError(f"{record}: not the cost of a run; remove the file") from None
    return cost if cost.command == command else None


def _finish(output: Path, cost: Cost) -> None:
    if not output.exists():
        raise RuntimeError(f"'{cost.command}' succeeded without writing {output}")
    _record(output).write_text(json.dumps(asdict(cost), indent=1) + "\n", encoding="utf-8")
