"""The error that a user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what to do."""


def one_line(error: BaseException) -> str:
    """Return what an error says on one printable line, or its kind if it says nothing."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text) or type(error).__name__
