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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
from snvrag.batches.batch import Batch, Neighbours
from snvrag.batches.keys import Key
from snvrag.config.options import build, entries
from snvrag.io.prepared import write_prepared
from snvrag.li_stephens import model as li_stephens_module
from snvrag.training import loader as loader_module
from snvrag.training import run as run_module
from snvrag.training import tables
from snvrag.training import trainer as trainer_module
from snvrag.training.options import Config
from snvrag.training.run_data import load_run_data
from snvrag.training.trainer import VALIDATION_SEED, Trainer
from turns import EnoughError, See, Turn, check_turned, outcome, recorded, turn

# --- files ----------------------------------------------------------------------------------------


class Files:
    """Files that options name, and a folder for output."""

    def __init__(self, folder: Path, panel: Path, model: Path) -> None:
        self.folder, self.panel, self.model = folder, panel, model

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def names(self) -> str:
        return self.write("names.txt", "s2\ns7\n")

    def table(self) -> str:
        rows = [f"s{i}\t{'ab'[i % 2]}\t{'cd'[i // 12]}" for i in range(24)]
        return self.write("samples.tsv", "\n".join(["sample\tpopulation\tregion", *rows]) + "\n")

    def map(self) -> str:
        return self.write("map.txt", "".join(f"1 . {cm} {bp}\n" for cm, bp in
                                             ((0, 900), (2, 3000), (2.1, 9000))))  # fmt: skip

    def other_panel(self) -> str:
        alleles = helpers.mosaic_haplotypes(40, 150, seed=8)
        panel = helpers.make_panel(alleles, prefix="t")
        return str(helpers.write_panel_vcf(self.folder / "other.vcf", panel, alleles))

    def prepared(self) -> str:
        """The panel in a format that regions need no index for."""
        alleles = helpers.mosaic_haplotypes(48, 200, seed=3)
        path = self.folder / "panel.safetensors"
        write_prepared(str(path), helpers.make_panel(alleles), ["."] * 200, None)
        return str(path)

    def output(self) -> str:
        """A folder that holds the checkpoint of an earlier run."""
        path = self.folder / "earlier"
        path.mkdir(exist_ok=True)
        (path / "rag_bert.model.ep0").write_bytes(self.model.read_bytes())
        return str(path)


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

    def pair(self, loader: Any, mask_seed: int, start: int = 0) -> tuple[Batch, Neighbours]:
        return next(loader.batches(mask_seed, start))

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
        """Nothing is held back."""


def train_batch(run: Run) -> Batch:
    return run.pair(run.trainer.train_loader, 0)[0]


def val_batch(run: Run) -> Batch:
    return run.pair(run.trainer.val_loader, VALIDATION_SEED)[0]


def of(get: Callable[[Run], Any], name: str) -> See:
    """See an attribute of what a function returns."""

    def see(run: Run) -> Any:
        return getattr(get(run), name)

    see.__name__ = f"{name} of {get.__name__}"
    return see


def train_neighbours(run: Run) -> Neighbours:
    return run.pair(run.trainer.train_loader, 0)[1]


def val_neighbours(run: Run) -> Neighbours:
    return run.pair(run.trainer.val_loader, VALIDATION_SEED)[1]


def both(get_one: Callable[[Run], Any], get_other: Callable[[Run], Any], name: str):
    return of(get_one, name), of(get_other, name)


MASKS = both(train_batch, val_batch, "hidden")
LI_STEPHENS = both(train_batch, val_batch, "li_stephens")
NEAR = both(train_neighbours, val_neighbours, "alleles")
FEATURES = both(train_neighbours, val_neighbours, "features")


def panel_samples(run: Run) -> Any:
    return run.trainer.data.panel.samples


def panel_position(run: Run) -> Any:
    return run.trainer.data.panel.position


def train_samples(run: Run) -> Any:
    return run.trainer.train_loader.dataset.targets.haplotypes.samples


def val_samples(run: Run) -> Any:
    return run.trainer.val_loader.dataset.targets.haplotypes.samples


def genotype_frequency(run: Run) -> Any:
    return train_batch(run).genotype_frequency


def later_mask(run: Run) -> Any:
    """The masks of the second epoch."""
    return run.pair(run.trainer.train_loader, 1)[0].hidden


def train_keys(run: Run) -> Any:
    batch = train_batch(run)
    return batch.windows[batch.window_row], batch.panel_sample


def val_keys(run: Run) -> Any:
    batch = val_batch(run)
    return batch.windows[batch.window_row], batch.af


def windows(run: Run) -> Any:
    return run.trainer.windows.starts, run.trainer.windows.stops


def flanked(run: Run) -> Any:
    return run.trainer.windows.flanked_starts, run.trainer.windows.flanked_stops


def cached(name: str) -> See:
    """See how many windows' indexes an epoch leaves in a cache."""

    def see(run: Run) -> Any:
        loader = getattr(run.trainer, name)
        for _ in loader.batches(0):
            pass
        return len(loader.retriever.cache)

    see.__name__ = f"cache of {name}"
    return see


def parameters(run: Run) -> Any:
    return run.trainer.network.state_dict()


def prediction(run: Run, training: bool = False) -> Any:
    """What a network answers whose parameters are at no special starting value."""
    network = run.trainer.network.train(training)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        torch.manual_seed(0)
        return network(*run.pair(run.trainer.train_loader, 0)).haplotypes


def training_prediction(run: Run) -> Any:
    return prediction(run, training=True)


def step(name: str) -> See:
    """See what two optimizer steps show."""

    def see(run: Run) -> Any:
        return run.steps[name]

    see.__name__ = f"{name} of the first steps"
    return see


def late_rate(run: Run) -> Any:
    """The learning rate far from the start."""
    run.trainer.step = 20
    return run.steps["rate"]


def is_done_after_two(run: Run) -> Any:
    run.trainer.epoch = 2
    return run.trainer.is_done


def val_loss(run: Run) -> Any:
    return run.trainer._validate()[0]


def stopping(run: Run) -> Any:
    """Whether training stops, at F1 that is first better by much and then by little."""
    seen = []
    for epoch, f1 in enumerate((0.1, 0.5, 0.55, 0.6, 0.65, 0.7, 0.72, 0.73)):
        run.trainer.stopping.update(epoch, f1)
        seen.append(run.trainer.stopping.should_stop)
    return seen


def folder(run: Run) -> Any:
    return run.trainer.folder


def kept_checkpoints(run: Run) -> Any:
    run.trainer.folder.mkdir(exist_ok=True)
    for epoch in range(4):
        (run.trainer.folder / f"rag_bert.model.ep{epoch}").touch()
    run.trainer.epoch = 4
    run.trainer.tidy_output()
    left = sorted(path.name for path in run.trainer.folder.glob("rag_bert.model.*"))
    for name in left:
        (run.trainer.folder / name).unlink()
    return left


def num_workers(run: Run) -> Any:
    with recorded(loader_module, "DataLoader", "num_workers") as seen:
        assert run.trainer
    (given,) = set(seen)  # of training and of validation
    return given


def start_method(run: Run) -> Any:
    with recorded(loader_module, "DataLoader", "multiprocessing_context") as seen:
        assert run.trainer
    (given,) = set(seen)  # of training and of validation
    return given


def train_search_threads(run: Run) -> Any:
    return run.trainer.train_loader.retriever.threads


def val_search_threads(run: Run) -> Any:
    return run.trainer.val_loader.retriever.threads


def li_stephens_threads(run: Run) -> Any:
    with recorded(li_stephens_module, "li_stephens_dosage", "threads") as seen:
        run.trainer.train_loader.dataset[Key(0, 0, 0)]
    return seen


def device(run: Run) -> Any:
    return outcome(lambda: str(run.trainer.device))


def is_compiled(run: Run) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "require_compiler", lambda _: None)
        return [block._compiled_call_impl is not None for block in run.trainer.network.blocks]


def autocast_on_a_gpu(run: Run) -> Any:
    run.trainer.runner.device = torch.device("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda *_, enabled: enabled)
        return run.trainer.runner.autocast()


def lines(run: Run) -> Any:
    """What `train` refuses, or prints of being resumed; its fit is left out."""
    printed = io.StringIO()
    threads = torch.get_num_threads()
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda _: None)
        refused = outcome(lambda: run_module.train(run.config) and None)
    torch.set_num_threads(threads)
    return refused, [line for line in printed.getvalue().splitlines() if "Resumed" in line]


def files_written(run: Run) -> Any:
    output = Path(run.config.run.output)
    lines(run)
    written = sorted(path.name for path in output.glob("*"))
    shutil.rmtree(output, ignore_errors=True)
    return written


def torch_threads(run: Run) -> Any:
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []
        patch.setattr(Trainer, "fit", lambda _: seen.append(torch.get_num_threads()))
        run_module.train(run.config)
    torch.set_num_threads(before)
    return seen


def waiting_minutes(run: Run) -> Any:
    with recorded(run_module.Ranks, "start") as seen:
        lines(run)
    return seen


def is_plotted(run: Run) -> Any:
    run.trainer.epoch = run.config.training.epochs  # nothing is left to train
    with recorded(tables, "plot_metrics") as seen:
        run.trainer.folder.mkdir(exist_ok=True)
        run.trainer.fit()
    return len(seen)


BASE: dict[str, Any] = {
    "panel": lambda files: str(files.panel),
    "output": lambda files: str(files.folder / "run"),
    "val_fraction": 1 / 6,
    "window_size": 64,
    "segment_size": 32,
    "segment_flank": 8,
    "k": 4,
    "li_stephens_flank": 20,
    "width": 16,
    "span": 32,
    "epochs": 3,
    "warmup_steps": 4,
    "threads": 1,
    "device": "cpu",
}

TRAIN: dict[str, Turn] = {
    "panel": turn(Files.other_panel, panel_samples, val_samples),
    "region": turn("1:2000-6000", panel_position, panel=Files.prepared),
    "train": turn(Files.other_panel, train_samples, keeps=(panel_samples, val_samples)),
    "populations": turn(Files.table, genotype_frequency),
    "population_column": turn("region", genotype_frequency, populations=Files.table),
    "val_samples": turn(Files.names, val_samples, panel_samples),
    "val_fraction": turn(0.25, val_samples, panel_samples),
    "genetic_map": turn(Files.map, *LI_STEPHENS),
    "window_size": turn(100, windows, flanked),
    "flank": turn(5, flanked, keeps=(windows,)),
    "mask_rates": turn((0.9,), MASKS[0], step("masking"), keeps=(MASKS[1],)),
    "epochs_per_rate": turn(1, later_mask, keeps=MASKS),
    "val_rate": turn(0.9, MASKS[1], keeps=(MASKS[0],)),
    "rare_rate": turn(0.1, *MASKS, step("masking")),
    "rare_threshold": turn(0.3, *MASKS, step("masking")),
    "mask_generator": turn("mt19937", *MASKS),
    "k": turn(3, *NEAR, keeps=LI_STEPHENS),
    "segment_size": turn(16, *NEAR, keeps=LI_STEPHENS),
    "segment_flank": turn(0, *FEATURES, keeps=LI_STEPHENS),
    "decay_sites": turn(1.0, *FEATURES, keeps=NEAR),
    "cache_mb": turn(2**-20, cached("train_loader"), cached("val_loader"), keeps=NEAR),
    "li_stephens": turn(False, *LI_STEPHENS, parameters),
    "ne": turn((1e7,), *LI_STEPHENS, keeps=NEAR),
    "mismatch": turn(0.3, *LI_STEPHENS, keeps=NEAR),
    "li_stephens_flank": turn(0, *LI_STEPHENS, keeps=NEAR),
    "width": turn(32, parameters),
    "layers": turn(3, parameters, prediction),
    "heads": turn(4, prediction, keeps=(parameters,)),
    "span": turn(8, prediction, keeps=(parameters,)),
    "dropout": turn(0.5, training_prediction, keeps=(parameters, prediction)),
    "weighting": turn("rank", parameters, *FEATURES, keeps=NEAR),
    "neighbour_prior": turn(False, parameters, prediction),
    "epochs": turn(2, is_done_after_two, step("rate")),
    "batch_size": turn(5, train_keys, val_keys),
    "accumulation": turn(2, step("batches")),
    "learning_rate": turn(0.1, step("rate")),
    "warmup_steps": turn(2, step("rate")),
    "final_rate": turn(0.9, late_rate),
    "clip": turn(1e-3, step("norm")),
    "focal_gamma": turn(2.0, step("norm"), val_loss, clip=1e9),
    "patience": turn(2, stopping, min_gain=0.2),
    "min_gain": turn(0.2, stopping, patience=2),
    "shuffle": turn("window", train_keys, keeps=(val_keys,)),
    "seed": turn(7, parameters, train_keys, step("seed"), keeps=(val_keys,)),
    "output": turn(lambda files: str(files.folder / "else"), folder),
    "overwrite": turn(True, lines, output=Files.output),
    "resume": turn(lambda files: str(files.model), lines, dry_run=True),
    "resume_epoch": turn(9, lines, resume=lambda files: str(files.model), dry_run=True),
    "save_every_minutes": turn(1e-9, step("files")),
    "keep": turn(1, kept_checkpoints),
    "workers": turn(1, num_workers),
    "start_method": turn("spawn", start_method, workers=1),
    "threads": turn(
        2, train_search_threads, val_search_threads, li_stephens_threads, torch_threads
    ),
    "device": turn("cuda:99", device),
    "rank_timeout": turn(3.0, waiting_minutes),
    "compile": turn(True, is_compiled),
    "amp": turn(False, autocast_on_a_gpu),
    "log_every": turn(1, step("scalars")),
    "dry_run": turn(True, files_written),
    "plot": turn(False, is_plotted),
}  # fmt: skip


def test_every_option_is_in_the_table() -> None:
    assert list(TRAIN) == [entry.name for entry in entries(Config)]


@pytest.mark.parametrize("name", TRAIN)
def test_training(name: str, files: Files) -> None:
    check_turned(Run, BASE, name, TRAIN[name], files)
