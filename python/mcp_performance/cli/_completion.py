"""``mcp-performance completion``: a script for the shell, made of the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["SHELLS", "add_completion", "script"]

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_mcp_performance() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words='' command=${{COMP_WORDS[1]}}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then words='{commands}'
    else case $command in
{cases}
    esac; fi
    while IFS= read -r match; do COMPREPLY+=("$match"); done < <(compgen -W "$words" -- "$word")
    if [ "$COMP_CWORD" != 1 ] && [ "${{word#-}}" = "$word" ]; then
        while IFS= read -r match; do COMPREPLY+=("$match"); done < <(compgen -f -- "$word")
    fi
}}
complete -F _mcp_performance mcp-performance
"""

_ZSH = """\
#compdef mcp-performance
_mcp_performance() {{
    local -a words
    if (( CURRENT == 2 )); then
        words=({described})
        _describe command words
        return
    fi
    case $words[2] in
{cases}
    esac
    if [[ $PREFIX == -* ]]; then compadd -- $words; else _files; fi
}}
compdef _mcp_performance mcp-performance
"""


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [word for action in parser._actions for word in action.option_strings]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one of :data:`SHELLS`."""
    action = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help or "" for one in action._choices_actions}
    commands: dict[str, argparse.ArgumentParser] = dict(action.choices)
    if shell == "bash":
        cases = "\n".join(
            f"        {name}) words='{' '.join(_options(one))}' ;;" for name, one in commands.items()
        )
        return _BASH.format(commands=" ".join([*commands, *_options(parser)]), cases=cases)
    if shell == "zsh":
        described = " ".join(_quoted(f"{name}:{helps.get(name, '')}") for name in commands)
        cases = "\n".join(
            f"    {name}) words=({' '.join(_options(one))}) ;;" for name, one in commands.items()
        )
        return _ZSH.format(described=described, cases=cases)
    return _fish(commands, helps)


def _fish(commands: dict[str, argparse.ArgumentParser], helps: dict[str, str]) -> str:
    lines = [
        f"complete -c mcp-performance -n __fish_use_subcommand -a {name} -d {_quoted(helps.get(name, ''))}"
        for name in commands
    ]
    for name, parser in commands.items():
        for action in parser._actions:
            longs = [word[2:] for word in action.option_strings if word.startswith("--")]
            shorts = [word[1:] for word in action.option_strings if not word.startswith("--")]
            if not longs and not shorts:
                continue
            words = [f"-l {word}" for word in longs] + [f"-s {word}" for word in shorts]
            takes = "" if action.nargs == 0 else " -r"
            told = _quoted((action.help or "").replace("%%", "%"))
            where = f"'__fish_seen_subcommand_from {name}'"
            lines.append(f"complete -c mcp-performance -n {where} {' '.join(words)}{takes} -d {told}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def add_completion(commands: Any, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the command to the parser's."""

    def run(options: argparse.Namespace) -> int:
        print(script(options.shell, parser()), end="")
        return 0

    completion = commands.add_parser(
        "completion", help='print a script for the shell: eval "$(mcp-performance completion bash)"'
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=run)
