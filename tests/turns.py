"""What must change with an option, and the check that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from snvrag.errors import InputError


class Turn(NamedTuple):
    """A value of an option, the names of what must change with it, and of what must not.

    ``value`` may be a function of the test files; ``given`` are other options, of both runs.
    """

    value: Any
    changes: str
    keeps: str
    given: Mapping[str, Any]


def turn(value: Any, changes: str = "", keeps: str = "", **given: Any) -> Turn:
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


def filled(values: Mapping[str, Any], files: Any) -> dict[str, Any]:
    """Return options whose values that are functions of the files are called."""
    return {name: value(files) if callable(value) else value for name, value in values.items()}


def check_turned(
    sees: Mapping[str, Callable[[dict[str, Any]], Any]],
    base: Mapping[str, Any],
    name: str,
    row: Turn,
    files: Any,
) -> None:
    """Compare what is seen with an option as it is, and turned."""
    values = filled({**base, **row.given}, files)
    turned = {**values, **filled({name: row.value}, files)}
    assert values.get(name) != turned[name]
    for see in f"{row.changes} {row.keeps}".split():
        before, after = (plain(sees[see](given)) for given in (values, turned))
        assert (before == after) == (see in row.keeps.split()), f"{name}: {see}"


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
