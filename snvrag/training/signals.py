"""Signals that ask for a checkpoint, taken at the end of the step that they come in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_ENDING, signal.SIGUSR1)


class TrainingInterrupted(Exception):  # noqa: N818  (no error: the run can go on)
    """A signal has ended the run, in good order.

    Attributes
    ----------
    signal_number : int
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that the signal killed: 143 or 130."""
        return 128 + self.signal_number


class Requests:
    """What signals have asked for and nobody has answered yet.

    Attributes
    ----------
    stop : int
        Number of the signal that ends the run, SIGTERM or SIGINT; 0: none.
    save : bool
        Whether SIGUSR1 wants a checkpoint.
    """

    def __init__(self) -> None:
        self.stop = 0
        self.save = False

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal; a second Ctrl-C ends at once."""
        if number == signal.SIGUSR1:
            self.save = True
        elif number == signal.SIGINT == self.stop:
            raise KeyboardInterrupt
        else:
            self.stop = number


@contextmanager
def listening(requests: Requests) -> Iterator[None]:
    """Send signals to ``requests`` while the block runs; outside the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, requests.take) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by something that is not Python, and lost.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def held() -> Iterator[None]:
    """Hold signals back from this thread while the block runs, and from what it starts.

    Otherwise Ctrl-C would kill a worker before it came to `ignore_signals`.
    """
    # Started later, within the block, multiprocessing's tracker would let the signals in.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals(_worker: int = 0) -> None:
    """Leave signals that a whole process group gets to the process that can answer them.

    A worker of a data loader begins with this: one that Ctrl-C kills would end the run before the
    checkpoint is saved.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
