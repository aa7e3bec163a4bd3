"""Several ranks: what they tell each other, how they share the keys, and that they train as one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from snvrag import train
from snvrag.batches.dataset import WindowDataset
from snvrag.batches.keys import VALIDATION_SEED, Key, KeySampler
from snvrag.errors import InputError, LostRankError, RemoteInputError
from snvrag.network.transformer import ImputationNetwork
from snvrag.training import trainer as trainer_module
from snvrag.training.distributed import ALONE, Ranks
from snvrag.training.run_data import load_run_data
from snvrag.training.tensorboard import Scalars
from snvrag.training.trainer import Trainer
from training_runs import (
    assert_same_checkpoint,
    checkpoint,
    configure,
    ended_train,
    make_trainer,
    run_train,
)

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
            "RANK": rank,
            "WORLD_SIZE": size,
            "LOCAL_RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": store.port,
            "TORCHELASTIC_USE_AGENT_STORE": True,
        }
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


# --- collectives ----------------------------------------------------------------------------------


def test_a_single_process_changes_nothing():
    tensor, network = torch.tensor([1.5]), torch.nn.Linear(1, 1)
    assert Ranks.start(1.0) == ALONE
    assert ALONE.is_writer
    assert ALONE.all_reduce_max(3, 4) == [3, 4]
    ALONE.all_reduce_sum(tensor)
    assert ALONE.all_reduce_gradients(network, tensor) is tensor
    assert tensor == 1.5
    assert network.weight.grad is None
    assert ALONE.broadcast("x") == "x"
    ALONE.require_same("x", 1)
    with pytest.raises(InputError, match=r"^mine$") as raised, ALONE.raise_on_all_ranks():
        raise InputError("mine")
    assert type(raised.value) is InputError


def _communicate(rank: int) -> dict[str, Any]:
    ranks = Ranks.start(1.0)
    network = torch.nn.Linear(2, 1)
    if rank != 1:  # which has no batch
        network.weight.grad = torch.full((1, 2), 1.0 + rank)
        network.bias.grad = torch.full((1,), 10.0)
    losses = ranks.all_reduce_gradients(network, torch.tensor([1.0, torch.nan if rank else 1.0]))
    tensor = torch.tensor([2**53 + rank, 1], dtype=torch.int64)
    ranks.all_reduce_sum(tensor)
    with ranks.raise_on_all_ranks():
        ranks.require_same("colour", "blue")
    got = {
        "size": ranks.size,
        "rank": ranks.rank - rank,
        "largest": ranks.all_reduce_max(rank, 1 - rank),
        "losses": str(losses.tolist()),
        "tensor": tensor.tolist(),
        "weight": network.weight.grad.tolist(),
        "bias": network.bias.grad.tolist(),
        "writer": ranks.broadcast(f"of {rank}"),
    }
    ranks.close()
    return got


def test_sums_and_broadcasts():
    expected = {
        "size": 3,
        "rank": 0,
        "largest": [2, 1],
        "losses": "[3.0, nan]",
        "tensor": [3 * 2**53 + 3, 3],
        "weight": [[4.0, 4.0]],
        "bias": [20.0],
        "writer": "of 0",
    }
    assert in_ranks(3, _communicate) == 3 * [expected]


def test_what_differs_ends_all():
    remote, error = in_ranks(2, lambda rank: Ranks.start(1.0).require_same("panel", "ab"[rank]))
    assert type(error) is InputError
    assert str(error) == "rank 1 has another panel than rank 0: b, not a"
    assert type(remote) is RemoteInputError
    assert str(remote) == str(error)


def _leave(rank: int) -> None:
    ranks = Ranks.start(1.0)
    if rank == 1:
        os._exit(7)
    ranks.all_reduce_max(1)


def test_lost_rank_ends_the_others():
    error, nothing = in_ranks(2, _leave)
    assert nothing is None
    assert isinstance(error, LostRankError)
    assert "rank 0: another of the 2 processes has ended" in str(error)
    assert "\n" not in str(error)
    error, _ = in_ranks(2, lambda rank: Ranks.start(0.01) if rank == 0 else None)
    assert isinstance(error, LostRankError)  # the other does not join


def test_seeds_of_steps_differ():
    drawn = product(range(8), range(5), range(50))
    assert len({Ranks(rank, 8).step_seed(seed, step) for rank, seed, step in drawn}) == 8 * 5 * 50
    assert Ranks(3, 8).step_seed(1, 2) == Ranks(3, 4, 1).step_seed(1, 2)


# --- shares of the keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_keys_are_shared_without_overlap_or_loss(size):
    """The keys of each batch, or whole batches."""
    sampler = KeySampler(3, 7, 4, seed=7, shuffle=True)
    ranks = [Ranks(rank, size) for rank in range(size)]
    parts = [list(rank.split_batches(sampler.batches(6))) for rank in ranks]
    for keys, *shares in zip(sampler.batches(6), *parts, strict=True):
        assert [key for share in shares for key in share] == keys
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    parts = [list(rank.deal_batches(sampler.batches(2024))) for rank in ranks]
    for i, keys in enumerate(sampler.batches(2024)):
        assert parts[i % size][i // size] == keys
    assert len({len(part) for part in parts}) == 1  # all have equally many
    assert sum(bool(keys) for part in parts for keys in part) == len(sampler)


# --- two ranks train as one -----------------------------------------------------------------------

# 7 keys a batch are 3 and 4; the last batch has 1, and the other rank none.
SPREAD = ["--batch-size", "7", "--accumulation", "2", "--epochs", "2", "--val-rate", "0.4"]


def _train(arguments: list[str]) -> dict[str, Any]:
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
        code, printed = ended_train(arguments)
    seen = {"keys": keys, "written": written, "curves": curves}
    return {**seen, "code": code, "out": printed.out + printed.err}


@pytest.fixture(scope="module")
def spread(tmp_path_factory, tiny_arguments):
    """One run in this process and one over two ranks: folders, and what each process did."""
    threads = torch.get_num_threads()
    folders, results = [], []
    for work in (lambda a: [_train(a)], lambda a: in_ranks(2, lambda _: _train(a))):
        folders.append(tmp_path_factory.mktemp("ranks") / "out")
        results.append(work([*tiny_arguments, *SPREAD, "--output", str(folders[-1])]))
    torch.set_num_threads(threads)
    assert [result["code"] for several in results for result in several] == [0, 0, 0], results
    return folders, results


def test_every_key_is_processed_once(spread):
    (alone,), ranks = spread[1]
    counts = [Counter(result["keys"]) for result in (alone, *ranks)]
    assert counts[0] == counts[1] + counts[2]
    training = {key: n for key, n in counts[0].items() if key.mask_seed != VALIDATION_SEED}
    assert training == {Key(e, w, s): 1 for e in range(2) for w in range(4) for s in range(20)}
    assert all(n > 90 for n in (counts[1].total(), counts[2].total()))


def test_only_rank_0_writes(spread):
    """And its curves are of all ranks."""
    (alone,), (first, second) = spread[1]
    assert "metrics.csv" in first["written"]
    assert "Epoch 2/2" in first["out"]
    assert "batches are split over 2 ranks" in first["out"]
    assert (second["written"], second["out"]) == ([], "")
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


def test_two_ranks_train_a_head_as_one(head_arguments, tmp_path):
    """They share the samples of a batch, and even the windows of a sample."""
    arguments = [*head_arguments, "--batch-size", "3", "--epochs", "2", "--output"]
    folders = tmp_path / "one", tmp_path / "two"
    threads = torch.get_num_threads()
    run_train([*arguments, str(folders[0])])
    codes = in_ranks(2, lambda _: ended_train([*arguments, str(folders[1])])[0])
    torch.set_num_threads(threads)
    assert codes == [0, 0]
    one, two = (checkpoint(folder, "ep1") for folder in folders)
    assert one["step"] == two["step"] == 14
    for name in ("cumulative_rho", "mismatch", "head.mean", "head.scale"):
        assert torch.equal(one["model"][name], two["model"][name]), name
    for name, row in one["baselines"].items():
        assert two["baselines"][name] == pytest.approx(row, rel=0, abs=0, nan_ok=True)
    for a, b in zip(one["history"], two["history"], strict=True):
        for name in ("train_loss", "val_loss", "f1_overall", "r2_overall"):
            assert b[name] == pytest.approx(a[name], rel=1e-3), name


def test_gradient_is_that_of_one_process(tiny_arguments, tmp_path):
    """Before any step: 2 ranks with 3 and 4 samples against one with 7."""
    config = configure([*tiny_arguments, *SPREAD, "--output", str(tmp_path)])
    data = load_run_data(config)

    def gradient(_rank: int) -> Any:
        trainer = Trainer(config, data, Ranks.start(1.0))
        gradients: list[torch.Tensor] = []

        def keep(*_: Any) -> None:
            parts = [p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None]
            gradients.append(torch.cat(parts))
            raise InterruptedError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer_module, "optimizer_step", keep)
            patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.ones(()))
            with contextlib.suppress(InterruptedError):
                trainer._train_epoch()
        return gradients[0].numpy()

    expected = torch.from_numpy(in_ranks(1, gradient)[0])
    first, second = map(torch.from_numpy, in_ranks(2, gradient))
    assert torch.equal(first, second)
    assert expected.norm() > 0
    largest = float(expected.abs().max())
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5 * largest)


def test_validation_is_identical(spread, tiny_arguments):
    """The weights that two ranks trained score the same in one process, to the last bit."""
    folder = spread[0][1]
    content = checkpoint(folder, "ep1")
    trainer = make_trainer([*tiny_arguments, *SPREAD, "--output", str(folder)])
    trainer.restore(content)
    loss, results = trainer._validate()
    row = content["history"][-1]
    assert loss == row["val_loss"]
    assert repr(results) == repr({name: row[name] for name in results})  # NaN is NaN


def test_wrong_input_is_said_once(tiny_arguments, tmp_path):
    """Of rank 0 alone (it makes the folder), and of all."""
    (tmp_path / "file").write_text("")
    for wrong in (["--output", str(tmp_path / "file")], ["--k", "1000"], ["--k", "-1"], ["--x"]):
        arguments = [*tiny_arguments, "--output", str(tmp_path / "out"), *wrong]
        first, second = in_ranks(2, lambda rank, a=arguments: _exit_code(a))
        assert first[0] == second[0] == 2
        assert first[1].startswith("snvrag train: error: ")
        assert first[1].count("\n") == 1
        assert second[1] == ""


def test_wrong_input_of_one_rank_is_said_by_it(tiny_arguments, tmp_path):
    """The others end with it, and leave the message to it."""
    arguments = [*tiny_arguments, "--output", str(tmp_path / "out")]
    wrong = [*arguments, "--panel", str(tmp_path / "none.vcf")]
    first, second = in_ranks(2, lambda rank: _exit_code(wrong if rank else arguments))
    assert first == (2, "")
    assert second[0] == 2
    assert second[1].startswith("snvrag train: error: ")
    assert second[1].count("none.vcf") == second[1].count("\n") == 1


def _exit_code(arguments: list[str]) -> tuple[Any, str]:
    code, printed = ended_train(arguments)
    return code, printed.err


# --- a rank is lost -------------------------------------------------------------------------------

# With dropout, so that each rank has random numbers of its own; validation is long enough.
LIVELY = ["--dropout", "0.2", "--flank", "5", *SPREAD]
KILLED_AT, SAVED_AT = 10, 8  # steps, of 6 an epoch


def _hurt_at_first(arguments: list[str]) -> None:
    """Train; in the first attempt rank 1 asks for a checkpoint and is killed two steps later."""
    take_step = Trainer.take_step

    def hurt(trainer: Trainer, group: Any) -> None:
        take_step(trainer, group)
        if trainer.ranks.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            if trainer.step == SAVED_AT:
                os.kill(os.getpid(), signal.SIGUSR1)
            if trainer.step == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)

    Trainer.take_step = hurt  # type: ignore[method-assign]
    sys.exit(train.main(arguments))


def _launch(printed: str, arguments: list[str]) -> None:
    """Be torchrun, but with processes that are forked, which need not import torch again."""
    sys.stdout = sys.stderr = open(printed, "a", buffering=1)  # noqa: SIM115
    meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "run_id": uuid4().hex}
    config = LaunchConfig(1, 1, 2, max_restarts=1, start_method="fork", **meeting)
    elastic_launch(config, _hurt_at_first)(arguments)


def test_killed_rank_and_a_restart_by_torchrun(tiny_arguments, tmp_path):
    """A signal to rank 1 alone has all save in the middle of an epoch; then it is killed. The rest
    is torchrun's, and the weights are those of the run that nothing happened to, bit for bit."""
    uninterrupted, folder, printed = (tmp_path / name for name in ("straight", "out", "printed"))
    arguments = [*tiny_arguments, *LIVELY, "--output", str(uninterrupted)]
    assert [code for code, _ in in_ranks(2, lambda _: _exit_code(arguments))] == [0, 0]
    arguments = [*tiny_arguments, *LIVELY, "--output", str(folder), "--resume", "auto"]
    launched = multiprocessing.get_context("fork").Process(
        target=_launch, args=(str(printed), arguments)
    )
    launched.start()
    launched.join(TIMEOUT_S)
    text = printed.read_text()
    assert launched.exitcode == 0, text
    assert "error: rank 0: another of the 2 processes has ended" in text
    assert f"Resumed from {folder}/rag_bert.model.step" in text
    assert_same_checkpoint(checkpoint(uninterrupted, "ep1"), checkpoint(folder, "ep1"))
    assert (uninterrupted / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_signal_to_one_rank_ends_all(tiny_arguments, tmp_path, number):
    def work(rank: int) -> tuple[Any, str]:
        take_step = Trainer.take_step

        def hurt(trainer: Trainer, group: Any) -> None:
            take_step(trainer, group)
            if rank == 1 and trainer.step == 2:
                os.kill(os.getpid(), number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "take_step", hurt)
            return _exit_code([*tiny_arguments, *SPREAD, "--output", str(tmp_path)])

    (code, errors), second = in_ranks(2, work)
    assert errors.count("\n") == 1
    if number == signal.SIGKILL:
        assert (code, second) == (1, None)
        assert errors.startswith("snvrag train: error: rank 0: another of the 2 processes has end")
    else:
        assert (code, second) == (143, (143, ""))
        assert errors.startswith("snvrag train: stopped by SIGTERM, state saved")
        assert checkpoint(tmp_path, "step")["step"] == 2


def test_resumed_by_another_number_of_ranks(spread, tiny_arguments, tmp_path):
    """One process goes on from what two saved after the first epoch."""
    folder = tmp_path / "out"
    arguments = [*tiny_arguments, *SPREAD, "--output", str(folder)]
    start = str(spread[0][1] / "rag_bert.model.ep0")
    printed = run_train([*arguments, "--resume", start])
    assert "Note: 2 ranks then, 1 now" in printed.out
    one, other = (checkpoint(place, "ep1") for place in (folder, spread[0][1]))
    same_but_for_rounding(one, other, checkpoint(spread[0][1], "ep0"))


def test_loss_of_one_rank_that_is_not_finite_ends_all(tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, *SPREAD, "--output", str(tmp_path)]

    def work(rank: int) -> tuple[Any, str]:
        loss, calls = ImputationNetwork.loss, iter(range(1000))

        def broken(*some: Any) -> torch.Tensor:
            breaks = rank == 1 and torch.is_grad_enabled() and next(calls) == 5
            return loss(*some) * (torch.nan if breaks else 1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ImputationNetwork, "loss", staticmethod(broken))
            return _exit_code(arguments)

    (code, errors), remote = in_ranks(2, work)
    assert code == 2
    assert "not finite at step 2, epoch index 0, batch 5 (window and sample" in errors
    assert errors.count("\n") == 1
    assert remote == (2, "")
    assert checkpoint(tmp_path, "step")["step"] == 2
