#!/usr/bin/env python3
"""Writes python/mcp_performance/_core.pyi from the module; with ``--check``, fails where the two differ.

Bindings carry their types in their docstrings, which begin with lines of these forms:

    name(parameters) -> type    a function; several lines are overloads. pybind11 writes such a line itself;
                                where C++ cannot tell the type, the docstring repeats it with a better one.
    -> type                     after a text signature, what the method returns; of an attribute, its type
    : type                      of an attribute that can be set
    class Name(bases)           first in a class's docstring, whose next lines speak for its special methods
    name: type                  in a class's docstring, an attribute of its instances

A name belongs to the room whose binding names it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import collections.abc
import contextvars
import inspect
import re
import subprocess
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STUB = ROOT / "python/mcp_performance/_core.pyi"
ROOMS = ("base", "loop", "metrics", "cache", "loadtest", "sqlite", "query", "http", "batch", "redis")
SOURCES = (collections.abc, typing, asyncio, contextvars, types)  # the first that has a name
FIGURES = "_base._stats"  # where CacheInfo and CacheStats are
PARAM_SPECS = {"_P", "_Q"}
BOUNDS = {"_C": "type[Any]", "_E": "BaseException"}
BASETYPE = 1 << 10  # Py_TPFLAGS_BASETYPE
ATTRIBUTE = re.compile(r"^(\w+): (.+)$")

# How pybind11 writes what it takes and returns.
SPELLINGS = (
    (re.compile(r"typing\.SupportsInt \| typing\.SupportsIndex"), "int"),
    (re.compile(r"typing\.SupportsFloat \| typing\.SupportsIndex"), "float"),
    (re.compile(r"(?:collections\.abc|typing|typing_extensions|mcp_performance\._core)\."), ""),
    (re.compile(r"CapsuleType"), "object"),
    (re.compile(r"(?<!')\bdict\b(?![\['])"), "dict[str, Any]"),
    (re.compile(r"(?<!')\b(list|Sequence)\b(?![\['])"), r"\1[Any]"),
    (re.compile(r"(?<!')\btuple\b(?![\['])"), "tuple[Any, ...]"),
    (re.compile(r"-> object$"), "-> Any"),
)


class Declared:
    """What one docstring declares, and the text that is left."""

    def __init__(self, name: str, thing: Any) -> None:
        self.signatures: list[str] = []
        self.result = ""
        self.setting = ""
        self.head = ""
        self.attributes: dict[str, str] = {}
        doc = thing.__doc__ if isinstance(thing.__doc__, str) else ""
        blocks = doc.split("\n\n")
        while blocks and self._read(name, blocks[0].splitlines(), isinstance(thing, type)):
            del blocks[0]
        self.text = "\n\n".join(blocks).strip()
        if shown := getattr(thing, "__text_signature__", None):
            parameters = shown.replace("$self", "self").replace("$module, ", "")
            if self.result:
                self.signatures.append(f"{name}{parameters} -> {self.result}")

    def _read(self, name: str, lines: list[str], is_class: bool) -> bool:
        """Takes in a block of declarations, unless it is prose. The last block with signatures counts."""
        signature = re.compile(rf"({'__' if is_class else re.escape(name) + '[(]'}).*\) -> \S")
        found = []
        for line in lines:
            if line.startswith("-> "):
                self.result = line[3:]
            elif line.startswith(": "):
                self.setting = line[2:]
            elif is_class and line.startswith("class "):
                self.head = line
            elif signature.match(line):
                found.append(line)
            elif is_class and (match := ATTRIBUTE.match(line)):
                self.attributes[match[1]] = match[2]
            else:
                return False
        self.signatures = found or self.signatures
        return bool(lines)


def parsed(signature: str) -> ast.FunctionDef:
    for pattern, spelling in SPELLINGS:
        signature = pattern.sub(spelling, signature)
    function = ast.parse(f"def {signature}: ...").body[0]
    if not isinstance(function, ast.FunctionDef):
        raise SystemExit(f"no signature: {signature}")
    return function


def quoted(doc: str) -> str:
    lines: list[str] = []
    for line in doc.replace("\\", "\\\\").splitlines():
        inner = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(line, 96, initial_indent="", subsequent_indent=inner) or [""]
    more = "\n    " if len(lines) > 1 else ""
    return '"""{}{}"""'.format("\n    ".join(lines), more)


class Stub:
    """Collects the text of the stub, and the names that it uses."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module
        self.names = set(vars(module))
        self.used: set[str] = set()

    def note(self, node: ast.AST) -> None:
        self.used |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}

    def type_of(self, text: str) -> str:
        self.note(ast.parse(text))
        return text

    def function(self, signature: str, owner: str | None, *, decorators: str = "", doc: str = "") -> str:
        node = parsed(signature)
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args]
        bound = owner is not None and "staticmethod" not in decorators
        if bound and (not named or named[0].arg not in {"self", "cls"}):
            arguments.args.insert(0, ast.arg("self"))
        if bound and named and named[0].annotation is not None and ast.unparse(named[0].annotation) == owner:
            named[0].annotation = None
        if any(each.arg.startswith("arg0") for each in named):  # pybind11's names of what has none
            arguments.posonlyargs, arguments.args = [*arguments.posonlyargs, *arguments.args], []
        for each in (arguments.vararg, arguments.kwarg):
            if each is not None and each.annotation is None:
                each.annotation = ast.Name("Any")
        self.note(node)
        text = decorators + ast.unparse(node).rsplit("\n", 1)[0]
        return f"{text}\n    {quoted(doc)}\n" if doc else f"{text} ...\n"

    def functions(self, name: str, thing: Any, owner: str | None = None) -> Iterator[str]:
        declared = Declared(name, thing)
        if not declared.signatures:
            raise SystemExit(f"{owner or '_core'}.{name}: its docstring declares no signature")
        yield from self.overloads(declared.signatures, owner, declared.text)

    def overloads(self, signatures: list[str], owner: str | None, doc: str) -> Iterator[str]:
        for number, signature in enumerate(signatures):
            several = "@overload\n" if len(signatures) > 1 else ""
            self.used |= {"overload"} if several else set()
            yield self.function(signature, owner, decorators=several, doc=doc if number == 0 else "")

    def member(self, owner: str, name: str, thing: Any) -> Iterator[str]:
        if isinstance(thing, staticmethod):
            signature = Declared(name, thing.__func__).signatures[-1]
            yield self.function(signature, owner, decorators="@staticmethod\n")
        elif name == "__class_getitem__":
            self.used.add("GenericAlias")
            yield f"def {name}(cls, item: Any, /) -> GenericAlias: ..."
        elif isinstance(thing, property | types.GetSetDescriptorType | types.MemberDescriptorType):
            yield from self.attribute(owner, name, thing)
        elif isinstance(thing, int | tuple):  # of a structseq
            yield f"{name}: {self.type_of('int' if isinstance(thing, int) else 'tuple[str, ...]')}"
        else:
            yield from self.functions(name, thing, owner)

    def attribute(self, owner: str, name: str, thing: Any) -> Iterator[str]:
        declared = Declared(name, thing)
        if declared.setting:
            yield f"{name}: {self.type_of(declared.setting)}\n" + (
                f"{quoted(declared.text)}\n" if declared.text else ""
            )
            return
        result = declared.result
        if not result and isinstance(thing, property):
            result = ast.unparse(
                parsed("get" + str(thing.fget.__doc__).splitlines()[0]).returns or ast.Tuple()
            )
        if not result:
            raise SystemExit(f"{owner}.{name}: its docstring declares no type")
        yield self.function(f"{name}(self) -> {result}", owner, decorators="@property\n", doc=declared.text)

    def class_(self, name: str, cls: type) -> str:
        declared = Declared(name, cls)
        head = declared.head or f"class {name}"
        self.note(ast.parse(f"{head}: ..."))
        body = [f"{each}: {self.type_of(kind)}" for each, kind in declared.attributes.items()]
        special: dict[str, list[str]] = {}
        for signature in declared.signatures:
            special.setdefault(signature.partition("(")[0], []).append(signature)
        for signatures in special.values():
            body += self.overloads(signatures, name, "")
        for each, thing in vars(cls).items():
            if each not in special and each not in declared.attributes and is_declared(each, thing):
                body += self.member(name, each, thing)
        lines = [f"{head}:", *([quoted(declared.text)] if declared.text else []), *(body or ["..."])]
        text = "\n".join(lines).replace("\n", "\n    ") + "\n"
        if not cls.__flags__ & BASETYPE:
            self.used.add("final")
            text = "@final\n" + text
        if "[" not in head:  # nothing to fill the type parameters of shared docstrings
            text = text.replace("*args: _P.args, **kwargs: _P.kwargs", "*args: Any, **kwargs: Any")
            text = text.replace("-> _R_co", "-> Any")
        return text

    def global_(self, name: str, thing: Any) -> str:
        if isinstance(thing, type):
            return self.class_(name, thing)
        if inspect.isbuiltin(thing):
            return "".join(self.functions(name, thing))
        kind = type(thing).__name__
        if kind == "NativeFunction":  # a variable, since stubs know no other way to say so
            node = parsed(Declared(name, thing).signatures[-1])
            taken = ", ".join(ast.unparse(each.annotation or ast.Tuple()) for each in node.args.posonlyargs)
            kind = f"Callable[[{taken}], {ast.unparse(node.returns or ast.Tuple())}]"
        elif kind == "ContextVar":
            kind = "ContextVar[Any]"
        elif kind == "tuple":
            kind = f"tuple[{type(thing[0]).__name__}, ...]"
        return f"{name}: {self.type_of(kind)}\n"

    def imports(self) -> Iterator[str]:
        for module in SOURCES:
            wanted = sorted(
                name
                for name in self.used - self.names
                if name in module.__all__ and not hasattr(builtins, name) and self.source(name) is module
            )
            if wanted:
                yield f"from {module.__name__} import {', '.join(wanted)}"
        yield f"from .{FIGURES} import CacheInfo, CacheStats"

    @staticmethod
    def source(name: str) -> types.ModuleType:
        return next(module for module in SOURCES if name in module.__all__)

    def variables(self) -> Iterator[str]:
        for name in sorted(each for each in self.used if re.fullmatch(r"_[A-Z](_co)?", each)):
            if name in PARAM_SPECS:
                yield f'{name} = ParamSpec("{name}")'
            else:
                more = ", covariant=True" if name.endswith("_co") else ""
                more += f", bound={BOUNDS[name]}" if name in BOUNDS else ""
                yield f'{name} = TypeVar("{name}"{more})'


def is_declared(name: str, thing: Any) -> bool:
    """Whether a member of a class is the binding's own, and not what every class has."""
    if name in {"__doc__", "__module__", "__dict__", "__vectorcalloffset__", "_pybind11_conduit_v1_"}:
        return False
    return name not in {"__new__", "__reduce__", "__replace__"} and not isinstance(
        thing, types.WrapperDescriptorType
    )


def room_of(name: str) -> str:
    """The room whose binding has the name in quotes, alone or after the module's."""
    wanted = re.compile(rf'"(?:mcp_performance\._core\.)?{re.escape(name)}"')
    for room in ROOMS:
        if any(wanted.search(path.read_text()) for path in sorted((ROOT / "bindings" / room).glob("*.cpp"))):
            return room
    raise SystemExit(f"{name}: no room binds it")


def generate(module: types.ModuleType) -> str:
    stub = Stub(module)
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name, thing in vars(module).items():
        if not name.startswith("__"):
            rooms[room_of(name)].append(stub.global_(name, thing))
    stub.used |= {"Any", "TypeVar", "ParamSpec"}
    sections = [f"# ---- {room}\n\n" + "\n".join(texts) for room, texts in rooms.items() if texts]
    return "\n".join(
        [
            f'"""{module.__doc__} Private: the public names are in the package\'s own modules.\n',
            'Written by scripts/stubs.py from the module; a change belongs into the bindings."""\n',
            *stub.imports(),
            "",
            "__version__: str",
            *stub.variables(),
            "",
            *sections,
        ]
    )


def formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--select", "I", "--fix", "-"], ["format", "-"]):
        text = subprocess.run(
            [ruff, command[0], "--quiet", "--stdin-filename", str(STUB), *command[1:]],
            input=text, check=True, capture_output=True, text=True, cwd=ROOT,
        ).stdout  # fmt: skip
    return text


def main() -> int:
    from mcp_performance import _core

    text = formatted(generate(_core))
    if "--check" not in sys.argv[1:]:
        STUB.write_text(text)
        return 0
    if STUB.read_text() == text:
        return 0
    print("python/mcp_performance/_core.pyi is not what the module says; run scripts/stubs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
