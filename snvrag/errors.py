"""Errors that end a run with one line."""


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what to do."""


class ToldInputError(InputError):
    """An `InputError` of another process of the run, which says it."""


class LostRankError(RuntimeError):
    """Another process of the run has ended, or does not answer."""
