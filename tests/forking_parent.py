"""Runs trainings in forked children and kills them on request: a part of test_survival.

A new process would spend seconds on importing torch; a fork of this one, which has imported it and
started no thread, begins at once. Requests and answers are lines of JSON on standard input and
output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from snvrag import log
from snvrag.batches.dataset import WindowDataset
from snvrag.io import atomic, checkpoint
from snvrag.kernels import af_guided_mask
from snvrag.train import main
from snvrag.training import trainer
from snvrag.training.step import BatchRunner


class Events:
    """Counts the moments at which a run changes something, and is killed at one of them."""

    def __init__(self, kind: str, kill_at: int, signal_number: int) -> None:
        self.kind, self.kill_at, self.signal_number = kind, kill_at, signal_number
        self.count = 0

    def before(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count every call of a function of the kind, and die on its threshold."""
        if kind != self.kind:
            return function

        def counting(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), self.signal_number)
            return function(*arguments, **options)

        return counting

    def install(self) -> None:
        """Replace the functions, in this process alone."""
        trainer.optimizer_step = self.before("step", trainer.optimizer_step)
        forward = BatchRunner.forward
        counting = self.before("validation", forward)

        def forward_or_die(runner: BatchRunner, *pair: Any) -> Any:
            return (forward if runner.network.training else counting)(runner, *pair)

        BatchRunner.forward = forward_or_die  # type: ignore[method-assign]
        trainer.mark_best = self.before("end", trainer.mark_best)
        hashing = checkpoint._Hashing
        hashing.write = self.before("payload", hashing.write)  # type: ignore[method-assign]
        handler = log._FileHandler
        handler.emit = self.before("file", handler.emit)  # type: ignore[method-assign]
        for name in ("fsync", "replace", "link"):
            setattr(atomic.os, name, self.before("file", getattr(os, name)))
        if self.kind == "raise":
            WindowDataset.__getitems__ = _fail_in_worker  # type: ignore[method-assign]


_getitems = WindowDataset.__getitems__


def _fail_in_worker(dataset: WindowDataset, keys: Any) -> Any:
    if get_worker_info() is not None:
        raise ZeroDivisionError("in a worker")
    return _getitems(dataset, keys)


def child(request: dict[str, Any]) -> None:
    """Run one training and leave by its exit code, never returning."""
    code = 99
    try:
        os.setpgid(0, 0)
        output = os.open(request["printed"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        Events(request["kind"], request["kill_at"], request["signal"]).install()
        code = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def warm_up() -> None:
    """Import what a training imports when it first needs it."""
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    af_guided_mask(np.zeros(1), seed=0, window=0, rate=0.5)
    assert threading.active_count() == 1


def serve() -> None:
    """Answer requests until there are no more."""
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(request)
        status = os.waitpid(pid, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # workers of a run that was killed
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
