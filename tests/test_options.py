"""Every option of training reaches the part that it is for: turned, what that part does changes.

One table, which no option may be missing from. A row names a value other than the default, what
must change when the option alone is given it, and what must not. Everything is seen through the
objects that a run is made of, so an option that is parsed, stored and then ignored fails here.
"""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
import panel_files
from snvrag.batches import evidence as evidence_module
from snvrag.config.options import build, entries
from snvrag.io.prepared import write_prepared
from snvrag.training import loader as loader_module
from snvrag.training import networks as networks_module
from snvrag.training import run as run_module
from snvrag.training import tables
from snvrag.training.options import Config
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import VALIDATION_SEED, Trainer
from turns import EnoughError, Turn, check_turned, outcome, recorded, turn

# --- files ----------------------------------------------------------------------------------------


class Files:
    """Files that options name, and a folder for output."""

    def __init__(self, folder: Path, panel: Path, model: Path) -> None:
        self.folder, self.panel, self.model = folder, str(panel), str(model)

    def write(self, name: str, *lines: str) -> str:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    def names(self) -> str:
        return self.write("names.txt", "s2", "s7")

    def table(self) -> str:
        rows = [f"s{i}\t{'ab'[i % 2]}\t{'cd'[i // 12]}" for i in range(24)]
        return self.write("samples.tsv", "sample\tpopulation\tregion", *rows)

    def map(self) -> str:
        return self.write("map.txt", "1 . 0 900", "1 . 2 3000", "1 . 2.1 9000")

    def other_panel(self) -> str:
        alleles = helpers.mosaic_haplotypes(40, 150, seed=8)
        panel = panel_files.make_panel(alleles, prefix="t")
        return str(panel_files.write_panel_vcf(self.folder / "other.vcf", panel, alleles))

    def prepared(self) -> str:
        """The panel in a format that regions need no index for."""
        path = str(self.folder / "panel.safetensors")
        panel = panel_files.make_panel(helpers.mosaic_haplotypes(48, 200, seed=3))
        write_prepared(path, panel, ["."] * 200, None)
        return path

    def output(self) -> str:
        """A folder that holds the checkpoint of an earlier run."""
        (self.folder / "earlier").mkdir(exist_ok=True)
        shutil.copy(self.model, self.folder / "earlier" / "rag_bert.model.ep0")
        return str(self.folder / "earlier")


@pytest.fixture
def files(tmp_path: Path, tiny_vcf: Path, tiny_model: Path) -> Files:
    return Files(tmp_path, tiny_vcf, tiny_model)


# --- training -------------------------------------------------------------------------------------


class Run:
    """A training run of some options that has not begun."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.config: Config = build(Config, values)

    @cached_property
    def trainer(self) -> Trainer:
        return Trainer(self.config, load_run_data(self.config))

    def loader(self, part: str) -> Any:
        return getattr(self.trainer, f"{part}_loader")

    def inputs(self, part: str, mask_seed: int | None = None) -> Any:
        """Return the first batch of training or validation, and what comes with it."""
        first = {"train": 0, "val": VALIDATION_SEED}[part] if mask_seed is None else mask_seed
        return next(self.loader(part).batches(first))

    @cached_property
    def steps(self) -> dict[str, Any]:
        """What two optimizer steps show, the run's own loop around them."""
        seen: dict[str, Any] = {"seed": [], "rate": [], "norm": [], "batches": [], "scalars": []}
        trainer = self.trainer
        trainer.scalars = _Scalars(seen["scalars"])

        def look(network: torch.nn.Module, arguments: Any) -> None:
            if network.training:
                seen["seed"].append(torch.initial_seed())
                seen["batches"].append(len(seen["rate"]))

        def step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            group = optimizer.param_groups[0]
            norms = [float(p.grad.norm()) for p in group["params"] if p.grad is not None]
            seen["norm"].append(float(np.linalg.norm(norms)))
            seen["rate"].append(group["lr"])
            if len(seen["rate"]) > 2:
                raise EnoughError

        trainer.network.register_forward_pre_hook(look)
        trainer.optimizer.register_step_pre_hook(step)
        trainer.folder.mkdir(exist_ok=True)
        with recorded(logging.getLogger("snvrag"), "info") as logged, pytest.raises(EnoughError):
            trainer.fit()
        lines = [line[0] % line[1:] for line in logged]
        seen["masking"] = [line for line in lines if line.startswith("[AF-Guided")]
        seen["files"] = sorted(path.name for path in trainer.folder.glob("rag_bert*"))
        return seen


class _Scalars:
    """Stands for the curves that a run writes."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def write(self, step: int, _: dict[str, float]) -> None:
        self.seen.append(step)

    def flush(self) -> None:
        pass


SEES: dict[str, Callable[..., Any]] = {}


def see(look: Callable[..., Any]) -> Callable[..., Any]:
    """Let the table name what a function sees."""
    SEES[look.__name__] = look
    return look


def keys(run: Run, part: str) -> Any:
    first = {"train": 0, "val": VALIDATION_SEED}[part]
    return next(run.loader(part).keys(first))


def num_cached(run: Run, part: str) -> int:
    """How many windows' indexes an epoch leaves in a cache."""
    for _ in run.loader(part).batches(0):
        pass
    return len(run.loader(part).retriever.cache)


@see
def prediction(run: Run, training: bool = False) -> Any:
    """What a network answers whose parameters are at no special starting value."""
    network = run.trainer.network.train(training)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        torch.manual_seed(0)
        return network(*run.inputs("train")).hap_dosage


@see
def late_rate(run: Run) -> Any:
    """The learning rate far from the start."""
    run.trainer.step = 20
    return run.steps["rate"]


@see
def is_done_after_two(run: Run) -> bool:
    run.trainer.epoch = 2
    return run.trainer.is_done


@see
def stopping(run: Run) -> list[bool]:
    """Whether training stops, at F1 that is first better by much and then by little."""
    seen = []
    for epoch, f1 in enumerate((0.1, 0.5, 0.55, 0.6, 0.65, 0.7, 0.72, 0.73)):
        run.trainer.stopping.update(epoch, f1)
        seen.append(run.trainer.stopping.should_stop)
    return seen


@see
def kept_checkpoints(run: Run) -> list[str]:
    run.trainer.folder.mkdir(exist_ok=True)
    for epoch in range(4):
        (run.trainer.folder / f"rag_bert.model.ep{epoch}").touch()
    run.trainer.epoch = 4
    run.trainer.tidy_output()
    left = sorted(run.trainer.folder.glob("rag_bert.model.*"))
    for path in left:
        path.unlink()
    return [path.name for path in left]


def of_both_loaders(run: Run, keyword: str) -> Any:
    with recorded(loader_module, "DataLoader", keyword) as seen:
        assert run.trainer
    (given,) = set(seen)
    return given


def li_stephens_threads(run: Run, part: str) -> Any:
    with recorded(evidence_module, "li_stephens_evidence", "threads") as seen:
        run.inputs(part)
    return seen


@see
def torch_threads(run: Run) -> Any:
    before = torch.get_num_threads()
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda _: seen.append(torch.get_num_threads()))
        run_module.train(run.config)
    torch.set_num_threads(before)
    return seen


@see
def is_compiled(run: Run) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks_module, "require_compiler", lambda _: None)
        return [block._compiled_call_impl is not None for block in run.trainer.network.blocks]


@see
def autocast_on_a_gpu(run: Run) -> Any:
    run.trainer.runner.device = torch.device("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda *_, enabled: enabled)
        return run.trainer.runner.autocast()


@see
def lines(run: Run) -> Any:
    """What `train` refuses, or prints of being resumed; its fit is left out."""
    printed = io.StringIO()
    threads = torch.get_num_threads()
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda _: None)
        refused = outcome(lambda: run_module.train(run.config) and None)
    torch.set_num_threads(threads)
    return refused, [line for line in printed.getvalue().splitlines() if "Resumed" in line]


@see
def files_written(run: Run) -> list[str]:
    output = Path(run.config.run.output)
    lines(run)
    written = sorted(path.name for path in output.glob("*"))
    shutil.rmtree(output, ignore_errors=True)
    return written


@see
def waiting_minutes(run: Run) -> Any:
    with recorded(run_module.Ranks, "start") as seen:
        lines(run)
    return seen


@see
def num_plots(run: Run) -> int:
    run.trainer.epoch = run.config.training.epochs  # nothing is left to train
    with recorded(tables, "plot_metrics") as seen:
        run.trainer.folder.mkdir(exist_ok=True)
        run.trainer.fit()
    return len(seen)


SEES |= {
    "panel.samples": lambda run: run.trainer.data.panel.samples,
    "panel.position": lambda run: run.trainer.data.panel.position,
    "windows": lambda run: (run.trainer.windows.starts, run.trainer.windows.stops),
    "flanked": lambda run: (run.trainer.windows.flanked_starts, run.trainer.windows.flanked_stops),
    "later_mask": lambda run: run.inputs("train", 1)[0].sites,
    "rates": lambda run: run.trainer.network.cumulative_rho,
    "parameters": lambda run: run.trainer.network.state_dict(),
    "training_prediction": lambda run: prediction(run, training=True),
    "val_loss": lambda run: run.trainer._validate()[0],
    "folder": lambda run: run.trainer.folder,
    "num_workers": lambda run: of_both_loaders(run, "num_workers"),
    "start_method": lambda run: of_both_loaders(run, "multiprocessing_context"),
    "device": lambda run: outcome(lambda: str(run.trainer.device)),
}
OF_A_LOADER = {
    "samples": lambda run, part: run.loader(part).dataset.targets.haplotypes.samples,
    "threads": lambda run, part: run.loader(part).retriever.threads,
    "li_stephens_threads": li_stephens_threads,
    "keys": keys,
    "cached": num_cached,
    "sites": lambda run, part: run.inputs(part)[0].sites,
    "hidden": lambda run, part: run.inputs(part)[0].hidden,
    "evidence": lambda run, part: run.inputs(part)[0].evidence,
    "genotypes": lambda run, part: run.inputs(part)[0].genotype_frequency,
    "near": lambda run, part: run.inputs(part)[1].alleles,
}
SEES |= {
    f"{part}.{name}": partial(look, part=part)
    for name, look in OF_A_LOADER.items()
    for part in ("train", "val")
}
SEES |= {
    f"step.{name}": lambda run, name=name: run.steps[name]
    for name in ("seed", "rate", "norm", "batches", "scalars", "masking", "files")
}
SITES, HIDDEN, EVIDENCE, NEAR = (
    f"train.{name} val.{name}" for name in ("sites", "hidden", "evidence", "near")
)

TRANSFORMER = {"network": "transformer"}
BASE: dict[str, Any] = {
    "panel": lambda files: files.panel,
    "output": lambda files: str(files.folder / "run"),
    "val_fraction": 1 / 6,
    "window_size": 64,
    "k": 4,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "dropout": 0.0,
    "epochs": 3,
    "warmup_steps": 4,
    "threads": 1,
    "device": "cpu",
}

TRAIN: dict[str, Turn] = {
    "panel": turn(Files.other_panel, "panel.samples val.samples"),
    "region": turn("1:2000-6000", "panel.position", panel=Files.prepared),
    "train": turn(Files.other_panel, "train.samples", "panel.samples val.samples"),
    "populations": turn(Files.table, "train.genotypes", **TRANSFORMER),
    "population_column": turn("region", "train.genotypes", populations=Files.table, **TRANSFORMER),
    "val_samples": turn(Files.names, "val.samples panel.samples"),
    "val_fraction": turn(0.25, "val.samples panel.samples"),
    "genetic_map": turn(Files.map, f"rates {EVIDENCE}", SITES),
    "window_size": turn(100, "windows flanked"),
    "flank": turn(5, "flanked", "windows"),
    "equal_windows": turn(False, "windows flanked"),
    "mask_rates": turn((0.9,), "train.sites step.masking", "val.sites"),
    "epochs_per_rate": turn(1, "later_mask", SITES),
    "val_rate": turn(0.9, "val.sites", "train.sites"),
    "rare_rate": turn(0.1, f"{SITES} step.masking"),
    "rare_threshold": turn(0.3, f"{SITES} step.masking"),
    "mask_generator": turn("mt19937", SITES),
    "retrieval": turn("dense", "parameters", NEAR, **TRANSFORMER),
    "k": turn(3, NEAR, HIDDEN, **TRANSFORMER),
    "cache_mb": turn(2**-20, "train.cached val.cached", NEAR, **TRANSFORMER),
    "network": turn("transformer", "parameters prediction"),
    "hidden": turn(16, "parameters prediction"),
    "width": turn(32, "parameters", **TRANSFORMER),
    "layers": turn(3, "parameters prediction", **TRANSFORMER),
    "heads": turn(4, "prediction", "parameters", **TRANSFORMER),
    "dropout": turn(0.5, "training_prediction", "parameters prediction", **TRANSFORMER),
    "epochs": turn(2, "is_done_after_two step.rate"),
    "batch_size": turn(3, "train.keys val.keys"),
    "accumulation": turn(2, "step.batches"),
    "learning_rate": turn(0.1, "step.rate"),
    "warmup_steps": turn(2, "step.rate"),
    "final_rate": turn(0.9, "late_rate"),
    "clip": turn(1e-3, "step.norm"),
    "focal_gamma": turn(2.0, "step.norm val_loss", clip=1e9),
    "patience": turn(2, "stopping", min_gain=0.2),
    "min_gain": turn(0.2, "stopping", patience=2),
    "seed": turn(7, "parameters train.keys step.seed", "val.keys"),
    "output": turn(lambda files: str(files.folder / "else"), "folder"),
    "overwrite": turn(True, "lines", output=Files.output),
    "resume": turn(lambda files: files.model, "lines", dry_run=True),
    "resume_epoch": turn(9, "lines", resume=lambda files: files.model, dry_run=True),
    "save_every_minutes": turn(1e-9, "step.files"),
    "keep": turn(1, "kept_checkpoints"),
    "workers": turn(1, "num_workers"),
    "start_method": turn("spawn", "start_method", workers=1),
    "threads": turn(2, "train.li_stephens_threads val.li_stephens_threads"),
    "device": turn("cuda:99", "device"),
    "rank_timeout": turn(3.0, "waiting_minutes"),
    "compile": turn(True, "is_compiled", **TRANSFORMER),
    "amp": turn(False, "autocast_on_a_gpu", **TRANSFORMER),
    "log_every": turn(1, "step.scalars"),
    "dry_run": turn(True, "files_written"),
    "plot": turn(False, "num_plots"),
}


def test_every_option_is_in_the_table() -> None:
    assert list(TRAIN) == [entry.name for entry in entries(Config)]


@pytest.mark.parametrize("name", TRAIN)
def test_training(name: str, files: Files) -> None:
    sees = {see: lambda values, look=look: look(Run(values)) for see, look in SEES.items()}
    check_turned(sees, BASE, name, TRAIN[name], files)
