"""Signals become requests; a second Ctrl-C does not wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import pytest

from snvrag.training.signals import Requests, TrainingInterrupted, held, ignore_signals, listening


@pytest.fixture(autouse=True)
def _handlers():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


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
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_ctrl_c_ends_at_once():
    requests = Requests()
    with listening(requests):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_exit_codes_are_those_of_a_shell():
    assert TrainingInterrupted(signal.SIGTERM).exit_code == 143
    assert TrainingInterrupted(signal.SIGINT).exit_code == 130
    assert str(TrainingInterrupted(signal.SIGTERM)) == "SIGTERM"


def test_another_thread_may_train():
    """Where Python lets nobody set a handler."""
    outcome = []

    def work():
        with listening(Requests()):
            outcome.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [before]


def test_workers_leave_signals_to_the_trainer():
    ignore_signals(3)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_worker_that_is_still_starting_leaves_them_too(number):
    worker = multiprocessing.get_context("spawn").Process(target=ignore_signals)
    with held():
        worker.start()
    os.kill(worker.pid, number)
    worker.join()
    assert worker.exitcode == 0


def test_held_signals_come_when_they_may():
    """In the thread that starts workers: others of the process take what is sent to it."""
    requests = Requests()
    with listening(requests):
        with held():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            assert requests.stop == 0
        assert requests.stop == signal.SIGTERM
