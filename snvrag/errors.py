"""The error that a user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what to do."""
