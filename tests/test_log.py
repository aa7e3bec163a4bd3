"""Progress: a bar on a terminal, log lines at an interval of time elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from snvrag import log as log_module
from snvrag.log import SECONDS_BETWEEN_LINES, Progress


@pytest.fixture
def lines(monkeypatch):
    """Return the list of log lines."""
    logged: list[str] = []
    monkeypatch.setattr(log_module.log, "info", lambda form, text: logged.append(form % text))
    return logged


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that goes only when told to: a list of its one time."""
    now = [1000.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now[0])
    return now


def test_lines_at_an_interval(lines, clock):
    """Their text, which waits for a GPU, is made only when a line is due."""
    made = []

    def line() -> str:
        made.append(f"[Batch {progress}]")
        clock[0] += 5  # counts from the end of the waiting
        return made[-1]

    with Progress("batch", 980, 100) as progress:
        for _ in range(40):
            clock[0] += SECONDS_BETWEEN_LINES / 8
            progress.advance(3, line)
    assert lines == made == [f"[Batch {100 + 24 * i}/980]" for i in range(1, 6)]


def test_the_last_batches_may_be_fewer(clock):
    progress = Progress("batch", 7)
    for _ in range(3):
        progress.advance(3, str)
    assert str(progress) == "7/7"
    unknown = Progress("sample")
    unknown.advance(3, str)
    assert str(unknown) == "3"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (True, False), (False, False)])
def test_no_lines_on_a_terminal_or_in_a_process_without_log(
    lines, clock, monkeypatch, terminal, shown
):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("batch", 5, shown=shown) as progress:
        clock[0] += 2 * SECONDS_BETWEEN_LINES
        progress.advance(5, lambda: pytest.fail("a line was made"))
    assert lines == []
    assert ("0/5" in stream.getvalue()) == shown  # the bar
