"""Signals become requests; a second Ctrl-C does not wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from snvrag.training.signals import (
    Requests,
    TrainingInterrupted,
    ignore_signals,
    kill,
    listening,
    signals_blocked,
)

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Python 3.12 and later warn of every fork() of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def test_signals_become_requests():
    requests = Requests()
    before = signal.getsignal(signal.SIGTERM)
    with listening(requests):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (requests.save, requests.stop) == (True, 0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests.stop == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        assert requests.stop == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_exit_codes_are_those_of_a_shell():
    assert TrainingInterrupted(signal.SIGTERM).exit_code == 143
    assert TrainingInterrupted(signal.SIGINT).exit_code == 130
    assert str(TrainingInterrupted(signal.SIGTERM)) == "SIGTERM"


def test_another_thread_may_train():
    """Where Python lets nobody set a handler."""
    seen = []

    def work():
        with listening(Requests()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def _ignore_and_answer(answers) -> None:
    ignore_signals()
    answers.send("ready")
    answers.recv()
    answers.send("alive")
    time.sleep(60)


def test_workers_ignore_signals_but_can_be_killed():
    """At the end of a run; SIGTERM, by which Python ends its children at exit, would not do."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    worker = context.Process(target=_ignore_and_answer, args=(there,))
    raised = []
    before = signal.signal(signal.SIGCHLD, lambda *_: raised.append(None))  # as torch handles it
    with signals_blocked():
        worker.start()
        for number in NUMBERS:  # while it may still be starting
            os.kill(worker.pid, number)
    assert here.recv() == "ready"
    for number in NUMBERS:
        os.kill(worker.pid, number)
    here.send("?")
    assert here.recv() == "alive"
    kill([worker])
    assert worker.exitcode == -signal.SIGKILL
    assert raised == []
    assert signal.signal(signal.SIGCHLD, before) is not before


def test_blocked_signals_come_afterwards():
    """In the thread that starts workers: others of the process take what is sent to it."""
    requests = Requests()
    with listening(requests):
        with signals_blocked():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            assert requests.stop == 0
        assert requests.stop == signal.SIGTERM
