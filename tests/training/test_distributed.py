"""Several ranks: what they tell each other, how they share the keys, and that they train as one."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from snvrag import train
from snvrag.batches.dataset import WindowDataset
from snvrag.batches.keys import Key, KeySampler
from snvrag.errors import InputError, LostRankError, RemoteInputError
from snvrag.training import step
from snvrag.training.distributed import ALONE, Ranks, RankSampler
from snvrag.training.options import parse_arguments
from snvrag.training.run_data import load_run_data
from snvrag.training.tensorboard import Scalars
from snvrag.training.trainer import VALIDATION_SEED, Trainer

# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

TIMEOUT_S = 60


def in_ranks(size: int, work: Callable[[int], Any]) -> list[Any]:
    """Run ``work(rank)`` in forked processes that find each other as those of torchrun do.

    Returns what each returned, the exception it raised, or None if it ended without a word.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("fork")
    started = []
    for rank in range(size):
        mine, other = context.Pipe(duplex=False)
        environment = {
            "RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True,
        }  # fmt: skip
        process = context.Process(target=_in_rank, args=(environment, work, other))
        process.start()
        other.close()
        started.append((process, mine))
    results = []
    for process, mine in started:
        assert mine.poll(TIMEOUT_S), "a rank hangs"
        try:
            results.append(mine.recv())
        except EOFError:
            results.append(None)
        process.join(TIMEOUT_S)
        assert process.exitcode is not None
    return results


def _in_rank(environment: dict[str, Any], work: Callable[[int], Any], pipe: Any) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    try:
        result = work(environment["RANK"])
    except (InputError, LostRankError) as error:
        result = error
    except BaseException:
        traceback.print_exc()
        raise
    pipe.send(result)
    pipe.close()


# --- what ranks tell each other -------------------------------------------------------------------


def test_alone_nothing_changes():
    tensor, network = torch.tensor([1.5]), torch.nn.Linear(1, 1)
    assert Ranks.start(1.0) == ALONE
    assert ALONE.is_writer
    assert ALONE.sum_integers(3, 4) == [3, 4]
    ALONE.add_up(tensor)
    assert ALONE.add_up_gradients(network, tensor) is tensor
    assert ALONE.largest(3, 4) == [3, 4]
    assert tensor == 1.5
    assert network.weight.grad is None
    assert ALONE.of_writer("x") == "x"
    ALONE.require_same("x", 1)
    with pytest.raises(InputError, match=r"^mine$") as told, ALONE.together():
        raise InputError("mine")
    assert type(told.value) is InputError


def _talk(rank: int) -> dict[str, Any]:
    ranks = Ranks.start(1.0)
    assert (ranks.rank, ranks.size) == (rank, 3)
    network = torch.nn.Linear(2, 1)
    if rank != 1:  # which has no batch
        network.weight.grad = torch.full((1, 2), 1.0 + rank)
        network.bias.grad = torch.full((1,), 10.0)
    losses = ranks.add_up_gradients(network, torch.tensor([1.0, float("nan") if rank else 1.0]))
    tensor = torch.tensor([2**53 + rank, 1], dtype=torch.int64)
    ranks.add_up(tensor)
    with ranks.together():
        pass
    ranks.require_same("colour", "blue")
    got = {
        "integers": ranks.sum_integers(rank, 1),
        "largest": ranks.largest(rank, 1 - rank),
        "losses": str(losses.tolist()),
        "tensor": tensor.tolist(),
        "weight": network.weight.grad.tolist(),
        "bias": network.bias.grad.tolist(),
        "writer": ranks.of_writer(f"of {rank}"),
    }
    ranks.close()
    return got


def test_sums_and_words():
    assert in_ranks(3, _talk) == 3 * [
        {
            "integers": [3, 3],
            "largest": [2, 1],
            "losses": "[3.0, nan]",
            "tensor": [3 * 2**53 + 3, 3],
            "weight": [[4.0, 4.0]],
            "bias": [20.0],
            "writer": "of 0",
        }
    ]


def _disagree(rank: int) -> None:
    Ranks.start(1.0).require_same("panel", "ab"[rank])


def test_what_differs_ends_all():
    told, error = in_ranks(2, _disagree)
    assert type(error) is InputError
    assert str(error) == "rank 1 has another panel than rank 0: b, not a"
    assert type(told) is RemoteInputError
    assert str(told) == str(error)


def _leave(rank: int) -> None:
    ranks = Ranks.start(1.0)
    if rank == 1:
        os._exit(7)
    ranks.sum_integers(1)


def test_lost_rank_ends_the_others():
    error, nothing = in_ranks(2, _leave)
    assert nothing is None
    assert isinstance(error, LostRankError)
    assert "rank 0: another of the 2 processes has ended" in str(error)
    assert "\n" not in str(error)


def _come_late(rank: int) -> None:
    if rank == 0:
        Ranks.start(0.01)


def test_rank_that_does_not_come_is_lost():
    error, _ = in_ranks(2, _come_late)
    assert isinstance(error, LostRankError)


def test_seeds_of_steps_differ():
    seeds = {
        Ranks(rank, 8).step_seed(seed, step)
        for rank in range(8)
        for seed in range(5)
        for step in range(50)
    }
    assert len(seeds) == 8 * 5 * 50
    assert Ranks(3, 8).step_seed(1, 2) == Ranks(3, 4, 1).step_seed(1, 2)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", ["full", "window", "none"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("first", [0, 4])
def test_batches_are_cut_without_overlap_or_loss(shuffle, size, first):
    whole = KeySampler(3, 10, 4, seed=7, shuffle=shuffle)
    whole.epoch, whole.first = 6, first
    expected = list(whole)
    parts = [list(RankSampler(whole, Ranks(r, size), cut_batches=True)) for r in range(size)]
    assert all(len(part) == len(expected) for part in parts)  # steps stay aligned
    for i, keys in enumerate(expected):
        assert [key for part in parts for key in part[i]] == keys
        sizes = [len(part[i]) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_whole_batches_go_round(size):
    whole = KeySampler(3, 7, 4, seed=7, shuffle="none")
    whole.epoch = 2024
    parts = [list(RankSampler(whole, Ranks(r, size), cut_batches=False)) for r in range(size)]
    for i, keys in enumerate(whole):
        assert parts[i % size][i // size] == keys
    assert len({len(part) for part in parts}) == 1  # steps stay aligned
    assert sum(bool(keys) for part in parts for keys in part) == len(whole)


# --- two ranks train as one -----------------------------------------------------------------------

# 7 keys a batch are 3 and 4; the last batch has 1, and the other rank none.
SPREAD = ["--batch-size", "7", "--accumulation", "2", "--epochs", "2", "--val-rate", "0.4"]


def _train(arguments: list[str], rank: int) -> dict[str, Any]:
    keys: list[Key] = []
    written: list[str] = []
    curves: dict[int, dict[str, float]] = {}
    getitems, replace = WindowDataset.__getitems__, os.replace

    def note_keys(self: WindowDataset, some: list[Key]) -> Any:
        keys.extend(some)
        return getitems(self, some)

    def note_file(source: Any, target: Any) -> None:
        written.append(Path(target).name)
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowDataset, "__getitems__", note_keys)
        patch.setattr(os, "replace", note_file)
        patch.setattr(
            Scalars, "write", lambda _, step, values: curves.setdefault(step, {}).update(values)
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = train.main(arguments)
    return {
        "code": code, "keys": keys, "written": written, "curves": curves, "out": out.getvalue()
    }  # fmt: skip


@pytest.fixture(scope="module")
def spread(tmp_path_factory, tiny_arguments):
    """One run in this process and one over two ranks: folders, and what each process did."""
    threads = torch.get_num_threads()
    folders, results = [], []
    for size in (1, 2):
        folder = tmp_path_factory.mktemp(f"ranks{size}") / "out"
        arguments = [*tiny_arguments, *SPREAD, "--output", str(folder)]
        folders.append(folder)
        results.append(
            in_ranks(2, lambda rank, a=arguments: _train(a, rank))
            if size == 2
            else [_train(arguments, 0)]
        )
    torch.set_num_threads(threads)
    assert [result["code"] for several in results for result in several] == [0, 0, 0], results
    return folders, results


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / f"rag_bert.model.{name}", weights_only=True)


def test_every_key_is_processed_once(spread):
    (alone,), several = spread[1]
    counts = [Counter(result["keys"]) for result in (alone, *several)]
    assert counts[0] == counts[1] + counts[2]
    training = {key: n for key, n in counts[0].items() if key.mask_seed != VALIDATION_SEED}
    assert set(training) == {Key(e, w, s) for e in range(2) for w in range(4) for s in range(20)}
    assert set(training.values()) == {1}
    assert all(n > 100 for n in (counts[1].total(), counts[2].total()))


def test_only_rank_0_writes(spread):
    (_,), (first, second) = spread[1]
    assert "metrics.csv" in first["written"]
    assert "Epoch 2/2" in first["out"]
    assert "batches are cut over 2 ranks" in first["out"]
    assert second["written"] == []
    assert second["out"] == ""


def test_curves_are_of_all_ranks(spread):
    (alone,), (first, _) = spread[1]
    assert set(first["curves"]) == set(alone["curves"]) == {6, 10, 12}
    for name in ("loss", "recall"):
        assert first["curves"][10][name] == pytest.approx(alone["curves"][10][name], rel=1e-3)


def flat(content: dict[str, Any]) -> torch.Tensor:
    """Return all weights but the biases of the neighbours' scores: what they add to every score
    cancels in the softmax, so their gradient may be rounding alone, of which Adam makes steps."""
    of_scores = re.compile(r"weights\.score\.\d+\.bias")
    kept = [value for name, value in content["model"].items() if not of_scores.fullmatch(name)]
    return torch.cat([weight.flatten() for weight in kept])


def same_but_for_rounding(one: dict[str, Any], two: dict[str, Any], before: dict[str, Any]) -> None:
    """Weights differ by less than a thousandth of what an epoch changed: Adam divides by the root
    of small squares, so what is rounding in a gradient grows."""
    assert one["step"] == two["step"]
    changed = (flat(one) - flat(before)).norm()
    assert changed > 0.1
    assert (flat(one) - flat(two)).norm() < 0.001 * changed


def test_weights_are_those_of_one_process(spread):
    """After 12 steps."""
    one, two = (checkpoint(folder, "ep1") for folder in spread[0])
    assert one["step"] == 12
    same_but_for_rounding(one, two, checkpoint(spread[0][0], "ep0"))
    for a, b in zip(one["history"], two["history"], strict=True):
        for name in ("train_loss", "val_loss", "f1_overall", "r2_rare"):
            assert b[name] == pytest.approx(a[name], rel=1e-3), name


def test_gradient_is_that_of_one_process(tiny_arguments, tmp_path):
    """Before any step: 2 ranks with 3 and 4 samples against one with 7."""

    def gradient(rank: int) -> torch.Tensor:
        ranks = Ranks.start(1.0)
        config = parse_arguments([*tiny_arguments, *SPREAD, "--output", str(tmp_path)])
        trainer = Trainer(config, load_run_data(config), ranks)
        grads: list[torch.Tensor] = []
        with pytest.MonkeyPatch.context() as patch:

            def keep(*_: Any) -> None:
                parts = [
                    p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None
                ]
                grads.append(torch.cat(parts))
                raise InterruptedError

            patch.setattr("snvrag.training.trainer.optimizer_step", keep)
            patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.ones(()))
            with contextlib.suppress(InterruptedError):
                trainer._train_epoch()
        return grads[0].numpy()

    expected = torch.from_numpy(in_ranks(1, gradient)[0])
    first, second = map(torch.from_numpy, in_ranks(2, gradient))
    assert torch.equal(first, second)
    assert expected.norm() > 0
    largest = float(expected.abs().max())
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5 * largest)


def test_validation_is_identical(spread, tiny_arguments):
    """The weights that two ranks trained score the same in one process, to the last bit."""
    folder = spread[0][1]
    config = parse_arguments([*tiny_arguments, *SPREAD, "--output", str(folder)])
    content = checkpoint(folder, "ep1")
    trainer = Trainer(config, load_run_data(config))
    trainer.restore(content)
    loss, results = trainer._validate()
    row = content["history"][-1]
    assert loss == row["val_loss"]
    for name, value in results.items():
        assert row[name] == value or (row[name] != row[name] and value != value), name


def test_wrong_input_is_said_once(tiny_arguments, tmp_path):
    """Of rank 0 alone (it makes the folder), and of all."""
    (tmp_path / "file").write_text("")
    for wrong in (["--output", str(tmp_path / "file")], ["--k", "1000"], ["--k", "-1"], ["--x"]):
        arguments = [*tiny_arguments, "--output", str(tmp_path / "out"), *wrong]
        first, second = in_ranks(2, lambda rank, a=arguments: _exit_code(a))
        assert first[0] == second[0] == 2
        assert first[1].startswith(("snvrag.train: error: --", "python -m snvrag.train: error: "))
        assert first[1].count("\n") == 1
        assert second[1] == ""


def _exit_code(arguments: list[str]) -> tuple[Any, str]:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code: Any = train.main(arguments)
        except SystemExit as ended:
            code = ended.code
    return code, errors.getvalue()


# --- a rank is lost -------------------------------------------------------------------------------

# With dropout, so that each rank has random numbers of its own; validation is long enough.
LIVELY = ["--dropout", "0.2", "--flank", "5", *SPREAD]
KILLED_AT, SAVED_AT = 10, 8  # steps, of 6 an epoch

DRIVER = """
import os, signal, sys
from snvrag import step, train
from snvrag.trainer import Trainer

take_step = Trainer.take_step

def hurt(trainer, group):
    take_step(trainer, group)
    if trainer.ranks.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if trainer.step == {saved_at}:
            os.kill(os.getpid(), signal.SIGUSR1)
        if trainer.step == {killed_at}:
            os.kill(os.getpid(), signal.SIGKILL)

Trainer.take_step = hurt
sys.exit(train.main())
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_arguments):
    folder = tmp_path_factory.mktemp("straight") / "out"
    arguments = [*tiny_arguments, *LIVELY, "--output", str(folder)]
    assert [result["code"] for result in in_ranks(2, lambda rank: _train(arguments, rank))] == [
        0,
        0,
    ]
    return folder


def test_killed_rank_and_a_restart_by_torchrun(uninterrupted, tiny_arguments, tmp_path):
    """A signal to rank 1 alone has all save in the middle of an epoch; then it is killed. The rest
    is torchrun's, and the weights are those of the run that nothing happened to, bit for bit."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(saved_at=SAVED_AT, killed_at=KILLED_AT))
    folder = tmp_path / "out"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--max-restarts", "1", str(driver)),
            *(*tiny_arguments, *LIVELY, "--output", str(folder), "--resume", "auto"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=4 * TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "error: rank 0: another of the 2 processes has ended" in ended.stderr
    assert f"Resumed from {folder}/rag_bert.model.step" in ended.stdout
    one, other = (checkpoint(place, "ep1") for place in (uninterrupted, folder))
    assert str(one["history"]) == str(other["history"])  # NaN is not NaN
    for name, weight in one["model"].items():
        assert torch.equal(weight, other["model"][name]), name
    for i, state in one["optimizer"]["state"].items():
        assert all(torch.equal(state[name], other["optimizer"]["state"][i][name]) for name in state)
    assert (uninterrupted / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()


def test_lost_rank_ends_the_job(tiny_arguments, tmp_path):
    """And a signal to one rank ends all in good order."""

    def work(rank: int) -> tuple[Any, str]:
        take_step = Trainer.take_step

        def hurt(trainer: Trainer, group: Any) -> None:
            take_step(trainer, group)
            if rank == 1 and trainer.step == 2:
                os.kill(os.getpid(), number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "take_step", hurt)
            return _exit_code([*tiny_arguments, *SPREAD, "--output", str(tmp_path / str(number))])

    number = signal.SIGKILL
    (code, errors), nothing = in_ranks(2, work)
    assert nothing is None
    assert code == 1
    assert errors.startswith("snvrag.train: error: rank 0: another of the 2 processes has ended")
    assert errors.count("\n") == 1
    number = signal.SIGTERM
    (code, errors), second = in_ranks(2, work)
    assert code == 143
    assert errors.startswith("snvrag.train: stopped by SIGTERM, state saved")
    assert second == (143, "")
    assert checkpoint(tmp_path / str(number), "step")["step"] == 2


def test_resumed_by_another_number_of_ranks(spread, tiny_arguments, tmp_path):
    """One process goes on from what two saved after the first epoch."""
    folder = tmp_path / "out"
    arguments = [*tiny_arguments, *SPREAD, "--output", str(folder)]
    start = str(spread[0][1] / "rag_bert.model.ep0")
    result = _train([*arguments, "--resume", start], 0)
    assert result["code"] == 0
    assert "Note: 2 ranks then, 1 now" in result["out"]
    one, other = (checkpoint(place, "ep1") for place in (folder, spread[0][1]))
    same_but_for_rounding(one, other, checkpoint(spread[0][1], "ep0"))


def test_loss_of_one_rank_that_is_not_finite_ends_all(tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, *SPREAD, "--output", str(tmp_path)]

    def work(rank: int) -> tuple[Any, str]:
        loss, calls = step.imputation_loss, iter(range(1000))

        def broken(*some: Any) -> torch.Tensor:
            return loss(*some) * (torch.nan if rank == 1 and next(calls) == 5 else 1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(step, "imputation_loss", broken)
            return _exit_code(arguments)

    (code, errors), told = in_ranks(2, work)
    assert code == 2
    assert "not finite at step 2, epoch index 0, batch 5 (window and sample" in errors
    assert errors.count("\n") == 1
    assert told == (2, "")
    assert checkpoint(tmp_path, "step")["step"] == 2
