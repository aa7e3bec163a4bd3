"""Command lines made from options, and the ways that they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from snvrag._installation import version_line
from snvrag.config.command_line import build_parser, parse, run_main, shown
from snvrag.config.options import Options, option, section
from snvrag.errors import InputError, LostRankError, RemoteInputError


@dataclass(frozen=True, kw_only=True)
class Part(Options):
    title = "The part"

    count: int = option(3, "number of things", least=1, big=30, formerly="old_part.how_many")
    rates: tuple[float, ...] = option((0.25, 1e-5), "rates of things")
    kind: Literal["a", "b"] = option("a", "kind of things", big="b")
    flag: bool = option(False, "100% of them", formerly="old_part.flag")
    limit: int | None = option(None, "most things")
    path: str | None = option(None, "file of things (default: a demo)", metavar="FILE")


@dataclass(frozen=True, kw_only=True)
class Program(Options):
    part: Part = section(Part)


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    source: str = option(help="what is read", positional=True)
    target: str | None = option(None, "what is written", positional=True, metavar="OUT")
    name: str = option(help="a name")
    file: tuple[str, ...] = option((), "a file, may be repeated", repeat=True)


def parsed(*arguments: str) -> Part:
    options, warnings = parse("program", Program, "", arguments)
    assert warnings == []
    return options.part


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["--count", "4"], {"count": 4}),
        (["--count", "4", "--count", "5"], {"count": 5}),
        (["--rates", "1", "2", "3"], {"rates": (1.0, 2.0, 3.0)}),
        (["--kind", "b"], {"kind": "b"}),
        (["--flag"], {"flag": True}),
        (["--flag", "yes"], {"flag": True}),
        (["--flag", "No"], {"flag": False}),
        (["--limit", "9", "--path", "x y"], {"limit": 9, "path": "x y"}),
        (["--preset", "small"], {}),
        (["--preset", "big"], {"count": 30, "kind": "b"}),
        (["--count", "4", "--preset", "big"], {"count": 4, "kind": "b"}),
    ],
)
def test_values(arguments, values):
    assert parsed(*arguments) == Part(**values)


def test_positional_and_repeated():
    given = ["in", "--name", "n", "--file", "a", "--file", "b"]
    options = parse("command", Command, "", given)[0]
    assert options == Command(source="in", name="n", file=("a", "b"))
    assert parse("command", Command, "", ["in", "out", "--name", "n"])[0].target == "out"


def test_precedence_of_preset_file_and_command_line(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("preset = 'big'\ncount = 5\nlimit = 6\n")
    assert parsed("--config", str(path), "--limit", "7") == Part(count=5, kind="b", limit=7)
    assert parsed("--config", str(path), "--preset", "small") == Part(count=5, limit=6)


def test_wrong_command_lines_are_one_line(capsys):
    for kind, arguments, words in (
        (Program, "--bogus", "--bogus"),
        (Program, "--coun 4", "--coun"),
        (Program, "--count many", "--count"),
        (Program, "--flag maybe", "yes or no"),
        (Program, "--preset huge", "--preset"),
        (Program, "--kind c", "--kind"),
        (Program, "stray", "stray"),
        (Program, "--rates", "--rates"),
        (Command, "in", "--name"),
        (Command, "--name n", "SOURCE"),
    ):
        with pytest.raises(SystemExit) as stopped:
            parse("program", kind, "", arguments.split())
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("snvrag program: error: ")
        assert error.endswith(" (see --help)\n")
        assert error.count("\n") == 1
        assert words in error


def test_help_lists_every_option_with_its_default():
    for kind, present, absent in (
        (
            Program,
            """usage: snvrag program
            Does things.
            --preset {small,big}
            --config FILE
            The part:
            --count N number of things (default: 3)
            --rates X [X ...] rates of things (default: 0.25 1e-05)
            --kind {a,b} kind of things (default: a)
            --flag [yes|no] 100% of them (default: no)
            --limit N most things (default: none)
            --path FILE file of things (default: a demo)""",
            ["how-many"],
        ),
        (
            Command,
            "SOURCE what is read\nOUT what is written\n--name TEXT a name\n--file TEXT",
            ["--config", "--preset"],
        ),
    ):
        text = " ".join(build_parser("program", kind, "Does things.").format_help().split())
        assert [line for line in present.splitlines() if line.strip() not in text] == []
        assert not [word for word in absent if word in text]


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("program", Program, "", ["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == version_line() + "\n"


# --- old names ------------------------------------------------------------------------------------


def test_old_names_are_taken_with_a_warning(tmp_path):
    options, warnings = parse("program", Program, "", ["--how-many", "4"])
    assert options.part.count == 4
    assert warnings == ["--how-many is now --count"]
    path = tmp_path / "x.toml"
    for text, place in (
        ("[old_part]\nhow-many = 5", "how-many in [old_part]"),
        ("how_many = 5", "how_many"),
    ):
        path.write_text(text)
        options, warnings = parse("program", Program, "", ["--config", str(path)])
        assert options.part.count == 5
        assert warnings == [f"{path}: {place} is now count in [part]"]
    path.write_text("[old_part]\nflag = true")
    options, warnings = parse("program", Program, "", ["--config", str(path)])
    assert options.part.flag
    assert warnings == [f"{path}: flag in [old_part] is now flag in [part]"]


def test_a_refused_value_of_an_old_name_is_warned_of_too(capsys, tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[old_part]\nhow_many = 0")
    assert run_main("program", Program, "", lambda _: None, ["--config", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"snvrag program: warning: {path}: how_many in [old_part] is now count in [part]\n"
        "snvrag program: error: --count must be at least 1, got 0\n"
    )
    path.write_text("[old_part]\nflag = true\nhow_many = 'x'")
    assert run_main("program", Program, "", lambda _: None, ["--config", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == (
        f"snvrag program: error: --config {path}: how_many must be an integer, got 'x'"
    )
    assert len(lines) == 3


# --- how a command ends ---------------------------------------------------------------------------


def ended(capsys, error: BaseException | None, **options) -> tuple[int, str]:
    def run(_: Program) -> int | None:
        if error is not None:
            raise error
        return None

    code = run_main("program", Program, "", run, [], **options)
    return code, capsys.readouterr().err


def test_exit_codes(capsys):
    assert ended(capsys, None) == (0, "")
    assert run_main("program", Program, "", lambda _: 7, []) == 7
    for error, code, line in (
        (InputError("is wrong"), 2, "error: is wrong"),
        (InputError("is wrong", argument="count"), 2, "error: --count is wrong"),
        (InputError("is wrong", path="f"), 2, "error: f: is wrong"),
        (InputError("is wrong", argument="path", path="f"), 2, "error: --path f: is wrong"),
        (InputError("is wrong", argument="inner"), 2, "error: inner is wrong"),
        (LostRankError("rank 3 ended"), 1, "error: rank 3 ended"),
        (OSError(28, "No space left", "f"), 2, "error: f: cannot be written (No space left)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):
        assert ended(capsys, error) == (code, f"snvrag program: {line}\n")
    assert ended(capsys, RemoteInputError("said elsewhere")) == (2, "")
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        ended(capsys, ZeroDivisionError())


def test_a_quiet_command_leaves_its_arguments_to_another_process(capsys):
    """What goes wrong later, only this process may know."""
    with pytest.raises(SystemExit) as stopped:
        run_main("program", Program, "", lambda _: None, ["--bogus"], quiet=True)
    assert (stopped.value.code, capsys.readouterr().err) == (2, "")
    assert run_main("program", Program, "", lambda _: None, ["--count", "-1"], quiet=True) == 2
    assert capsys.readouterr().err == ""
    for error, code in ((LostRankError("rank 0 ended"), 1), (InputError("rank 0 ended"), 2)):
        assert ended(capsys, error, quiet=True) == (code, "snvrag program: error: rank 0 ended\n")


def test_arguments_are_shown_as_they_are_given():
    assert shown(Program, "limit") == "--limit"
    assert shown(Program, "config") == "--config"
    assert [shown(Command, name) for name in ("source", "target", "name", "k")] == [
        *("SOURCE", "OUT", "--name", "k")
    ]
    error = InputError("is wrong", argument="source", path="f")
    assert str(error) == "source f: is wrong"
    assert error.text(shown(Command, error.argument)) == "SOURCE f: is wrong"
