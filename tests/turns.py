"""What must change with an option, and the check that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from snvrag.errors import InputError

See = Callable[[Any], Any]


class Turn(NamedTuple):
    """A value of an option, and what must change with it, and what must not.

    ``value`` may be a function of the test files; ``given`` are other options, of both runs.
    """

    value: Any
    changes: tuple[See, ...]
    keeps: tuple[See, ...] = ()
    given: Mapping[str, Any] = {}


def turn(value: Any, *changes: See, keeps: tuple[See, ...] = (), **given: Any) -> Turn:
    return Turn(value, changes, keeps, given)


def plain(seen: Any) -> Any:
    """Return what was seen as something that == compares, arrays and tensors bit for bit."""
    if isinstance(seen, torch.Tensor):
        return plain(seen.detach().numpy())
    if isinstance(seen, np.ndarray):
        return seen.dtype.str, seen.shape, seen.tobytes()
    if isinstance(seen, (list, tuple)):
        return [plain(item) for item in seen]
    if isinstance(seen, dict):
        return {name: plain(item) for name, item in seen.items()}
    return seen


def outcome(work: Callable[[], Any]) -> Any:
    """Return what a call returns, or the argument that it refuses."""
    try:
        return work()
    except InputError as error:
        return "refused", error.argument


def check_turned(
    begin: Callable[[dict[str, Any]], Any],
    base: dict[str, Any],
    name: str,
    row: Turn,
    files: Any,
) -> None:
    """Compare what is seen with an option as it is, and turned."""
    values = {**base, **row.given}
    values = {key: value(files) if callable(value) else value for key, value in values.items()}
    value = row.value(files) if callable(row.value) else row.value
    assert values.get(name) != value
    for see in row.changes:
        before, after = (plain(see(begin(v))) for v in (values, {**values, name: value}))
        assert before != after, f"{name}: {see.__name__} does not change"
    for see in row.keeps:
        before, after = (plain(see(begin(v))) for v in (values, {**values, name: value}))
        assert before == after, f"{name}: {see.__name__} changes"


class EnoughError(Exception):
    """Ends a run that has shown enough."""


@contextmanager
def recorded(owner: Any, name: str, keyword: str = "") -> Iterator[list[Any]]:
    """Record the positional arguments of each call of a function, or one given by keyword."""
    seen: list[Any] = []
    real = getattr(owner, name)

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.append(options[keyword] if keyword else arguments)
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, spy)
        yield seen
