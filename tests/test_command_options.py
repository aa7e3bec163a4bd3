"""Every option of impute, evaluate and prepare changes what the command does.

And imputing takes the options that a model was trained with from the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import evaluation_files
import helpers
import panel_files
from snvrag import evaluate, prepare
from snvrag.batches.batch import Batch, Neighbours
from snvrag.config.options import build
from snvrag.evaluation.options import EvaluateOptions
from snvrag.imputation import adaptation, imputation, network_imputer, problem
from snvrag.imputation.options import ImputeOptions
from snvrag.io import htslib
from snvrag.io.checkpoint import load_checkpoint, save_checkpoint
from snvrag.io.prepared import write_prepared
from snvrag.panel.windows import WindowConfig
from snvrag.prepare import PrepareOptions
from snvrag.retrieval.options import RetrievalConfig
from turns import EnoughError, Turn, check_turned, filled, outcome, recorded, turn

PANEL = panel_files.make_panel(helpers.mosaic_haplotypes(40, 200, seed=3))
ALLELES = panel_files.alleles_of(PANEL)


def indexed(path: Path) -> str:
    """Return a VCF, compressed and with an index, which regions need."""
    out = panel_files.convert_vcf(path, path.with_suffix(".vcf.gz"), "wz")
    htslib.build_index(out, 0)
    return str(out)


class Files:
    """Files to impute, to evaluate and to prepare."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.checkpoint = folder, model

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def panel(self) -> str:
        return self.prepared("panel.safetensors", PANEL)

    def prepared(self, name: str, panel: Any) -> str:
        path = self.path(name)
        write_prepared(path, panel, ["."] * panel.num_sites, None)
        return path

    def smaller_panel(self) -> str:
        return self.prepared("smaller.safetensors", PANEL.select_samples(np.arange(15)))

    def target(self, name: str = "target", samples: str = "t", separator: str = "|") -> str:
        rows = helpers.mosaic_haplotypes(46, 200, seed=3)[40:]
        records = [
            (
                "1",
                int(PANEL.position[s]),
                *PANEL.alleles[s],
                " ".join(f"{a}{separator}{b}" for a, b in rows[:, s].reshape(3, 2)),
            )
            for s in range(0, 200, 3)
        ]
        names = [samples + str(i) for i in range(3)]
        path = panel_files.write_vcf(self.folder / f"{name}.vcf", records, names)
        return indexed(path)

    def map(self) -> str:
        path = self.folder / "map.txt"
        path.write_text("1 . 0 900\n1 . 2 3000\n1 . 2.1 9000\n")
        return str(path)

    def changed_model(self, **options: Any) -> str:
        """A model of a training with other options, or of other weights."""
        content = load_checkpoint(self.checkpoint, "model")
        tables = {name: dict(table) for name, table in content["config"].items()}
        for name, value in options.items():
            (table,) = (table for table in tables.values() if name in table)
            table[name] = list(value) if isinstance(value, tuple) else value
        weights = dict(content["model"])
        if not options:
            weights["norm.weight"] = weights["norm.weight"] * 0.1
        path = self.folder / "other.model"
        save_checkpoint(path, {**content, "config": tables, "model": weights})
        return str(path)

    def existing(self) -> str:
        (self.folder / "existing.vcf").write_text("mine")
        return self.path("existing.vcf")

    def compared(self, name: str) -> str:
        """One of the files of an evaluation, with an index."""
        truth, imputed, panel = evaluation_files.random_files(self.folder, 1, 60)
        return indexed({"truth": truth, **imputed, "panel": panel}[name])

    def sites(self) -> str:
        path = self.folder / "sites.tsv"
        path.write_text("".join(f"20\t{100 + 7 * s}\tA\tG\n" for s in range(20)))
        return str(path)

    def typed(self) -> tuple[str, ...]:
        """An imputed file that says of some sites that they were typed."""
        self.compared("one")
        lines = (self.folder / "one.vcf").read_text().splitlines()
        for i, line in enumerate(lines):
            if not line.startswith("#") and i % 3 == 0:
                cells = line.split("\t")
                lines[i] = "\t".join([*cells[:7], "TYPED", *cells[8:]])
        lines.insert(1, '##INFO=<ID=TYPED,Number=0,Type=Flag,Description="A flag">')
        path = self.folder / "typed.vcf"
        path.write_text("\n".join(lines) + "\n")
        return (str(path),)


@pytest.fixture
def files(tmp_path: Path, tiny_model: Path) -> Files:
    return Files(tmp_path, tiny_model)


# --- impute ---------------------------------------------------------------------------------------


class Imputed:
    """One imputation."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.options = build(ImputeOptions, values)

    def run(self) -> Any:
        threads = torch.get_num_threads()
        try:
            return outcome(lambda: imputation.impute_file(self.options).num_panel_sites)
        finally:
            self.threads = torch.get_num_threads()
            torch.set_num_threads(threads)

    def records(self) -> list[list[str]]:
        self.run()
        path = Path(self.options.output)
        lines = path.read_text().splitlines()
        path.unlink()
        return [line.split("\t") for line in lines if not line.startswith("##")]

    def inputs(self) -> tuple[Batch, Neighbours, Any]:
        """Return what a network is given first, and how the panel is cut."""
        seen: list[Any] = []
        real = network_imputer.NetworkImputer

        def with_plan(*arguments: Any, **options: Any) -> Any:
            made = real(*arguments, **options)
            seen.append(made.plan)
            return made

        def look(module: torch.nn.Module, given: Any) -> None:
            if isinstance(given[0], Batch):
                seen.extend(given)
                raise EnoughError

        handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(network_imputer, "NetworkImputer", with_plan)
                with pytest.raises(EnoughError):
                    self.run()
        finally:
            handle.remove()
        return seen[1], seen[2], seen[0]

    def learned(self) -> Any:
        """What is learned from the panel, and what the Li-Stephens model is then given."""
        with (
            recorded(problem, "li_stephens_evidence", "cumulative_rho") as rho,
            recorded(problem, "li_stephens_evidence", "alt_count") as panels,
            recorded(problem, "li_stephens_evidence", "threads") as threads,
        ):
            self.run()
        return rho, panels, threads


def written(imputed: Imputed) -> Any:
    """The files that are there after, but not before."""
    folder = Path(imputed.options.panel).parent
    before = set(folder.iterdir())
    result = imputed.run()
    after = set(folder.iterdir()) - before
    for path in after:
        path.unlink()
    return result, sorted(path.name for path in after)


def torch_threads(imputed: Imputed) -> Any:
    imputed.run()
    return imputed.threads


@pytest.fixture(autouse=True)
def _no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn rates alone, which takes a moment."""
    monkeypatch.setattr(adaptation, "_LEAST_ROWS", 10**9)


IMPUTE_SEES: dict[str, Callable[[Imputed], Any]] = {
    "result": Imputed.run,
    "written": written,
    "torch_threads": torch_threads,
    "rates": lambda imputed: imputed.learned()[0],
    "alt_count": lambda imputed: imputed.learned()[1],
    "threads": lambda imputed: imputed.learned()[2],
    "samples": lambda imputed: imputed.records()[0][9:],
    "positions": lambda imputed: [record[1] for record in imputed.records()[1:]],
    "genotypes": lambda imputed: [record[9:] for record in imputed.records()[1:]],
    "frequencies": lambda imputed: imputed.inputs()[0].af,
    "near": lambda imputed: imputed.inputs()[1].alleles,
    "plan": lambda imputed: imputed.inputs()[2],
}


def checkpoint(files: Files) -> str:
    return str(files.checkpoint)


IMPUTE_BASE: dict[str, Any] = {
    "panel": Files.panel,
    "target": Files.target,
    "output": lambda files: files.path("out.vcf"),
    "overwrite": True,
    "threads": 1,
    "device": "cpu",
}
IMPUTE: dict[str, Turn] = {
    "panel": turn(Files.smaller_panel, "alt_count"),
    "target": turn(lambda files: files.target("other", "u"), "samples"),
    "output": turn(lambda files: files.path("else.vcf"), "written"),
    "model": turn(Files.changed_model, "genotypes"),
    "save_model": turn(lambda files: files.path("learned"), "written", "genotypes"),
    "region": turn("1:2000-5000", "positions"),
    "genetic_map": turn(Files.map, "rates"),
    "phase_only": turn(True, "positions", "samples"),
    "report": turn(lambda files: files.path("dropped.tsv"), "written"),
    "overwrite": turn(False, "result", output=Files.existing),
    "threads": turn(2, "threads"),
    "device": turn("cuda:99", "result", model=checkpoint),
}
# Of a checkpoint with a network of windows.
IMPUTE_BY_NETWORK: dict[str, Turn] = {
    "panel": turn(Files.smaller_panel, "frequencies"),
    "genetic_map": turn(Files.map, "", "genotypes"),
    "threads": turn(2, "torch_threads"),
    "model": turn(Files.changed_model, "genotypes"),
}
# Of the training that made the model: turned in the model, other numbers go into its network.
AS_TRAINED: dict[str, Turn] = {
    "window_size": turn(40, "plan"),
    "flank": turn(9, "plan"),
    "equal_windows": turn(False, "", "plan result"),  # imputation cuts windows as it reads
    "retrieval": turn("dense", "result"),  # whose network has other weights
    "k": turn(3, "result"),
    "cache_mb": turn(1e-6, "", "near"),
}


@pytest.mark.parametrize("name", IMPUTE)
def test_impute(name: str, files: Files) -> None:
    sees = {see: lambda given, look=look: look(Imputed(given)) for see, look in IMPUTE_SEES.items()}
    check_turned(sees, IMPUTE_BASE, name, IMPUTE[name], files)


@pytest.mark.parametrize("name", IMPUTE_BY_NETWORK)
def test_impute_by_network(name: str, files: Files) -> None:
    sees = {see: lambda given, look=look: look(Imputed(given)) for see, look in IMPUTE_SEES.items()}
    base = {**IMPUTE_BASE, "model": checkpoint}
    check_turned(sees, base, name, IMPUTE_BY_NETWORK[name], files)


@pytest.mark.parametrize("name", AS_TRAINED)
def test_imputing_as_trained(name: str, files: Files) -> None:
    base = filled({**IMPUTE_BASE, "model": checkpoint}, files)

    def imputed(options: dict[str, Any]) -> Imputed:
        return Imputed({**base, "model": files.changed_model(**options)} if options else base)

    sees = {see: lambda given, look=look: look(imputed(given)) for see, look in IMPUTE_SEES.items()}
    check_turned(sees, {}, name, AS_TRAINED[name], files)


# --- evaluate and prepare -------------------------------------------------------------------------


def evaluation(values: dict[str, Any], measure: str) -> Any:
    return getattr(evaluate.evaluate_files(build(EvaluateOptions, values)), measure)


def reports(values: dict[str, Any]) -> list[str]:
    evaluate.run(build(EvaluateOptions, values))
    return sorted(path.name for path in Path(values["truth"]).parent.glob("reports/*"))


def prepared(values: dict[str, Any]) -> Any:
    """What is refused or written, and where."""
    folder = Path(values["panel"]).parent
    for path in folder.glob("*out.safetensors"):
        path.unlink()
    options = outcome(lambda: build(PrepareOptions, values))
    if isinstance(options, tuple):
        return options
    before = set(folder.iterdir())
    prepare._run(options)
    return {path.name: path.read_bytes() for path in set(folder.iterdir()) - before}


EVALUATE_SEES = {
    **{m: partial(evaluation, measure=m) for m in ("measures", "num_sites", "intervals")},
    "reports": reports,
}
EVALUATE_BASE = {
    "truth": lambda files: files.compared("truth"),
    "imputed": lambda files: (files.compared("one"),),
    "bootstrap": 10,
}
EVALUATE: dict[str, Turn] = {
    "truth": turn(lambda files: files.compared("two"), "measures"),
    "imputed": turn(lambda files: (files.compared("two"),), "measures"),
    "panel": turn(lambda files: files.compared("panel"), "measures"),
    "sites": turn(Files.sites, "num_sites"),
    "exclude_typed": turn(False, "num_sites", imputed=Files.typed),
    "region": turn("20:100-200", "num_sites"),
    "maf_edges": turn((0.0, 0.2, 0.5), "measures"),
    "bootstrap": turn(20, "intervals", "measures"),
    "seed": turn(1, "intervals", "measures"),
    "output": turn(lambda files: files.path("reports"), "reports"),
}
PREPARE_BASE = {"panel": Files.panel, "output": lambda files: files.path("out.safetensors")}
PREPARE: dict[str, Turn] = {
    "panel": turn(Files.smaller_panel, "prepared"),
    "output": turn(lambda files: files.path("else.safetensors"), "prepared"),
    "region": turn("1:2000-5000", "prepared"),
    "verify": turn(True, "prepared"),
}


@pytest.mark.parametrize("name", EVALUATE)
def test_evaluate(name: str, files: Files) -> None:
    check_turned(EVALUATE_SEES, EVALUATE_BASE, name, EVALUATE[name], files)


@pytest.mark.parametrize("name", PREPARE)
def test_prepare(name: str, files: Files) -> None:
    check_turned({"prepared": prepared}, PREPARE_BASE, name, PREPARE[name], files)


def test_every_option_is_in_its_table() -> None:
    trained = (*fields(WindowConfig), *fields(RetrievalConfig))
    assert list(AS_TRAINED) == [item.name for item in trained]
    tables = {ImputeOptions: IMPUTE, EvaluateOptions: EVALUATE, PrepareOptions: PREPARE}
    for kind, table in tables.items():
        assert list(table) == [item.name for item in fields(kind)], kind.__name__
