"""Checkpoint signals, handled between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class TrainingInterrupted(Exception):  # noqa: N818  (no error: the run can be resumed)
    """A signal has ended the run after a checkpoint was saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a process killed by the signal: 143 or 130."""
        return 128 + self.signal_number


@dataclass
class Requests:
    """Signals received and not yet answered.

    ``stop`` is SIGTERM or SIGINT, which ends the run, or 0; ``save`` whether SIGUSR1 asked for a
    checkpoint.
    """

    stop: int = 0
    save: bool = False

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal; a second Ctrl-C raises KeyboardInterrupt."""
        if number == signal.SIGUSR1:
            self.save = True
        elif number == signal.SIGINT == self.stop:
            raise KeyboardInterrupt
        else:
            self.stop = number


def _in_main_thread() -> bool:
    """Return whether Python lets this thread set signal handlers."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def listening(requests: Requests) -> Iterator[None]:
    """Send signals to ``requests`` inside the block; does nothing outside the main thread."""
    if not _in_main_thread():
        yield
        return
    before = {number: signal.signal(number, requests.take) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by something other than Python, and lost.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block signals for this thread, and for processes that it starts, inside the block.

    Otherwise Ctrl-C would kill a worker that has not yet called `ignore_signals`.
    """
    # If multiprocessing's tracker were started inside the block, it would unblock the signals.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals(_worker: int = 0) -> None:
    """Ignore signals that are sent to a whole process group, and are the main process's to answer.

    Workers of a data loader call this first: if Ctrl-C or SIGTERM killed them, the run would end
    before the checkpoint is saved.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def kill(processes: Iterable[BaseProcess]) -> None:
    """Kill child processes and wait for them.

    By itself, Python ends them at exit by SIGTERM, which workers ignore, and then waits forever.
    """
    processes = list(processes)
    # torch handles SIGCHLD by an error in whatever this process does when a worker dies.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if _in_main_thread() else None
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    if before is not None:
        signal.signal(signal.SIGCHLD, before)
