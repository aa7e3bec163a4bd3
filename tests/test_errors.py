"""Errors name the argument, the file and what is wrong, wherever they are raised."""

from __future__ import annotations

import pickle

import pytest

from snvrag.errors import InputError, RemoteInputError, one_line, reason


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ({}, "is wrong"),
        ({"argument": "k"}, "k is wrong"),
        ({"path": "f.vcf"}, "f.vcf: is wrong"),
        ({"argument": "panel", "path": "f.vcf"}, "panel f.vcf: is wrong"),
    ],
)
@pytest.mark.parametrize("kind", [InputError, RemoteInputError])
def test_text_and_the_way_to_another_process(where, line, kind):
    error = kind("is wrong", **where)
    assert str(error) == line
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.argument, again.path) == (
        *(kind, line, where.get("argument", ""), where.get("path", "")),
    )


def test_reasons_are_one_printable_line():
    assert reason(FileNotFoundError(2, "No such file or directory", "x")) == (
        "No such file or directory"
    )
    assert reason(ValueError("two\n lines\x1b")) == "two lines?"
    assert one_line(KeyError()) == "KeyError"
