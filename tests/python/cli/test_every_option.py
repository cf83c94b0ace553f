"""Every option of the command line: what it cannot be ends with a sentence on standard error, never
with a traceback."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import cli

HOSTILE = ["", "x", "-1", "nan", "inf", "1" * 400, "caf\udce9", "1-", "-", "[]"]
# Of texts and files most is right: this is no file's name and no Unicode.
HOSTILE_TEXTS = ["", "\udce9" + "1" * 400]

# How each command is called where its options are right. Nobody listens on port 1.
COMMANDS = {
    "load": ["http://127.0.0.1:1/", "-n", "1", "--quiet"],
    "top": ["http://127.0.0.1:1", "--once"],
    "dashboard": ["http://127.0.0.1:1/api"],
    "analyze": ["missing.db", "SELECT 1"],
    "doctor": [],
    "completion": ["bash"],
}

# Right is what serves until Ctrl-C, or looks at the whole machine.
SERVE = {("dashboard", "--token")}


def options() -> Iterator[tuple[str, argparse.Action]]:
    commands = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        for action in parser._actions:
            takes_a_value = action.nargs is None or action.nargs == "+"
            if name in COMMANDS and action.option_strings and takes_a_value:
                yield name, action


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        pytest.param(
            command,
            action.option_strings[-1],
            HOSTILE_TEXTS if action.type in (None, Path) else HOSTILE,
            id=f"{command} {action.option_strings[-1]}",
        )
        for command, action in options()
        if (command, action.option_strings[-1]) not in SERVE
    ],
)
def test_what_an_option_cannot_be_is_a_sentence(
    command: str,
    option: str,
    values: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in values:
        try:
            status = cli.main([command, *COMMANDS[command], f"{option}={value}"])
        except SystemExit as ended:
            status = int(str(ended.code))
        said = capsys.readouterr().err
        assert status in (0, 1, 2, 3), (value, said)
        if status == 2:
            assert said.strip(), value


def test_every_command_is_here() -> None:
    commands = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands.choices) == {*COMMANDS, "demo"}
