"""Errors that end a run with one line."""

from __future__ import annotations

from functools import partial
from pathlib import Path


class InputError(ValueError):
    """Something the user gave is wrong: names it, what was expected and what came.

    A message is such as ``must be at least 1, got 0``; the argument, if any, is named as a Python
    caller writes it (a command line shows its flag), the path is that of a file that is wrong.
    """

    def __init__(self, message: str, *, argument: str = "", path: str | Path = "") -> None:
        super().__init__(message)
        self.message, self.argument, self.path = message, argument, str(path)

    def __str__(self) -> str:
        return self.text(self.argument)

    def text(self, argument: str) -> str:
        """Return the error as one line in which its argument is called ``argument``."""
        place = f"{self.path}: " if self.path else ""
        return f"{argument} {place}{self.message}".lstrip()

    def __reduce__(self) -> tuple[object, ...]:
        restore = partial(type(self), argument=self.argument, path=self.path)
        return restore, (self.message,)


class RemoteInputError(InputError):
    """An `InputError` already reported by another rank."""


class LostRankError(RuntimeError):
    """Another process of the run has ended, or does not answer."""


class LostWorkerError(LostRankError):
    """A worker process of a data loader has ended or raised an error."""


def reason(error: BaseException) -> str:
    """Return what the system says of a failure: ``No such file or directory``."""
    return one_line(getattr(error, "strerror", None) or error)


def unwritable(path: str | Path, error: OSError, argument: str = "") -> InputError:
    """Return the error of a file that cannot be written."""
    return InputError(f"cannot be written ({reason(error)})", argument=argument, path=path)


def unreadable(path: str | Path, error: BaseException, argument: str = "") -> InputError:
    """Return the error of a file that cannot be read."""
    return InputError(f"cannot be read ({reason(error)})", argument=argument, path=path)


def printable(text: str) -> str:
    r"""Return a text that UTF-8 can encode; a file name's undecodable byte becomes ``\udcff``."""
    return text.encode(errors="backslashreplace").decode()


def one_line(error: object) -> str:
    """Return a text or what an error says on one printable line; its type if it says nothing."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text) or type(error).__name__
