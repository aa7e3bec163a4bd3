"""Errors that end a run with one line."""


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what to do."""


class ToldInputError(InputError):
    """An `InputError` of another process of the run, which says it."""


class LostRankError(RuntimeError):
    """Another process of the run has ended, or does not answer."""


def one_line(error: BaseException) -> str:
    """Return what an error says on one printable line, or its kind if it says nothing."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text) or type(error).__name__
