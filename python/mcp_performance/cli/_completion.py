"""``mcp-performance completion``: a script for the shell, made of the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ["SHELLS", "add_completion", "script"]

SHELLS = ("bash", "zsh", "fish")

# After an option that takes a value come its choices, or files; else options, the command's choices or files.
_BASH = """\
_mcp_performance() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} offered='' files=1 match
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then offered='{commands}' files=
    else
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
        *) case "${{COMP_WORDS[1]}} $word" in
{options}
{choices}
            esac ;;
        esac
    fi
    while IFS= read -r match; do COMPREPLY+=("$match"); done < <(compgen -W "$offered" -- "$word")
    if [ -n "$files" ]; then
        while IFS= read -r match; do COMPREPLY+=("$match"); done < <(compgen -f -- "$word")
    fi
}}
complete -F _mcp_performance mcp-performance
"""

_ZSH = """\
#compdef mcp-performance
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
_mcp_performance() {{
    local -a offered
    local files=1
    if (( CURRENT == 2 )); then
        offered=({described})
        _describe command offered
        return
    fi
    case "$words[2] $words[CURRENT-1]" in
{values}
    *) case "$words[2] $PREFIX" in
{options}
{choices}
        esac ;;
    esac
    compadd -- $offered
    [[ -z $files ]] || _files
}}
compdef _mcp_performance mcp-performance
"""


def _parsers(parser: argparse.ArgumentParser) -> tuple[dict[str, argparse.ArgumentParser], dict[str, str]]:
    """The commands, with what their help says."""
    action = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices), {one.dest: one.help or "" for one in action._choices_actions}


def _cases(commands: dict[str, argparse.ArgumentParser], between: str) -> dict[str, str]:
    """The cases of a shell's script. *between* stands between the words of an assignment."""

    def case(pattern: str, words: list[str]) -> str:
        return f"        {pattern}) offered={between.format(' '.join(words))} files= ;;"

    values, options, choices = [], [], []
    for name, parser in commands.items():
        any_value = []
        for action in parser._actions:
            found = [str(choice) for choice in action.choices or ()]
            patterns = [f"'{name} {word}'" for word in action.option_strings if action.nargs != 0]
            if patterns and found:
                values.append(case("|".join(patterns), found))
            elif not action.option_strings and found:
                choices.append(case(f"'{name} '*", found))
            any_value += [] if found else patterns
        if any_value:
            values.append(f"        {'|'.join(any_value)}) ;;")
        options.append(case(f"'{name} -'*", [word for one in parser._actions for word in one.option_strings]))
    named = {"values": values, "options": options, "choices": choices}
    return {name: "\n".join(lines) for name, lines in named.items()}


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for one of :data:`SHELLS`."""
    commands, helps = _parsers(parser)
    if shell == "bash":
        words = [word for action in parser._actions for word in action.option_strings]
        return _BASH.format(commands=" ".join([*commands, *words]), **_cases(commands, "'{}'"))
    if shell == "zsh":
        described = " ".join(_quoted(f"{name}:{helps.get(name, '')}") for name in commands)
        return _ZSH.format(described=described, **_cases(commands, "({})"))
    return _fish(commands, helps)


def _fish(commands: dict[str, argparse.ArgumentParser], helps: dict[str, str]) -> str:
    lines = [
        f"complete -c mcp-performance -n __fish_use_subcommand -a {name} -d {_quoted(helps.get(name, ''))}"
        for name in commands
    ]
    for name, parser in commands.items():
        where = f"complete -c mcp-performance -n '__fish_seen_subcommand_from {name}'"
        for action in parser._actions:
            choices = " ".join(str(choice) for choice in action.choices or ())
            offered = f" -f -a {_quoted(choices)}" if choices else ""
            names = [
                f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
                for word in action.option_strings
            ]
            if names:
                takes = "" if action.nargs == 0 else " -r"
                told = _quoted((action.help or "").replace("%%", "%"))
                lines.append(f"{where} {' '.join(names)}{takes}{offered} -d {told}")
            elif offered:
                lines.append(f"{where}{offered}")
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
