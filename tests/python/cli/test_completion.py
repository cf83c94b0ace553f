"""What the shells offer, asked of the shells."""

import subprocess

import pytest

from mcp_performance.cli import main

BASH = """
{script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_mcp_performance; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# The functions of zsh's completion, as far as they are called. What it offers it narrows down itself.
ZSH = """
compdef() {{ }}
compadd() {{ print -l -- ${{(M)${{@:#--}}:#$PREFIX*}} }}
_describe() {{ print -l -- ${{(M)${{${{(P)2}}%%:*}}:#$PREFIX*}} }}
_files() {{ print -l -- $PREFIX*(N) }}
{script}
words=({words}); CURRENT=$#words PREFIX=$words[-1]
_mcp_performance
"""
FISH = """
printf %s {script} | source
complete -C {line}
"""


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"  # for fish


@pytest.fixture(params=["bash", "zsh", "fish"])
def ask(request, capsys, tmp_path):
    """What that shell offers after what was typed, in a folder with the file report.json."""
    (tmp_path / "report.json").touch()
    shell = request.param

    def offered(typed):
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        words = typed if not typed.endswith(" ") else f"{typed}''"
        if shell == "fish":
            program = FISH.format(script=quoted(script), line=quoted(typed))
        else:
            program = {"bash": BASH, "zsh": ZSH}[shell].format(script=script, words=words)
        options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        run = subprocess.run(
            [shell, *options, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert run.stderr == ""
        return sorted(line.split("\t")[0] for line in run.stdout.splitlines() if line)

    return offered


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ana", ["analyze"]),
        ("d", ["dashboard", "demo", "doctor"]),
        ("doctor --re", ["--redis"]),
        ("load shop:app --thr", ["--threads", "--threshold"]),
        ("demo --di", ["--directory"]),
        ("top --sort c", ["count"]),
        ("analyze --format js", ["json"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("completion f", ["fish"]),
        ("load --json rep", ["report.json"]),
        ("analyze rep", ["report.json"]),
    ],
)
def test_a_shell_offers_commands_options_their_choices_and_files(ask, typed, offered):
    assert ask(f"mcp-performance {typed}") == offered


def test_what_the_demo_takes_is_said_by_the_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--directory" in said
    assert "--serve" in said
