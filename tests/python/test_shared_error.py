"""An exception that many wait for: each gets one of its own, like the first."""

import asyncio
import gc
import traceback
import weakref
from typing import Any

import pytest

from mcp_performance import _core


class Plain(Exception):
    pass


class Slotted(Exception):
    __slots__ = ("__private", "detail")

    def __init__(self, detail: str) -> None:
        super().__init__("slotted")
        self.detail = detail
        self.__private = 2 * detail

    @property
    def private(self) -> str:
        return self.__private


class Keyword(Exception):
    made = 0

    def __init__(self, *, code: int) -> None:
        Keyword.made += 1
        super().__init__(f"code {code}")
        self.code = code


class OwnNew(LookupError):
    def __new__(cls, one: int, two: int) -> "OwnNew":
        return super().__new__(cls, f"{one} and {two}")

    def __init__(self, one: int, two: int) -> None:
        self.sum = one + two


class Coded(OSError):
    def __init__(self, what: str) -> None:
        super().__init__(2, what, "a file")
        self.what = what


class Undecodable(UnicodeDecodeError):
    def __init__(self, data: bytes) -> None:
        super().__init__("utf-8", data, 0, 1, "why")


class Group(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception]) -> "Group":
        return super().__new__(cls, "all of them", errors)

    def __init__(self, errors: list[Exception]) -> None:
        self.count = len(errors)


class Called(ExceptionGroup[Exception]):
    """As the library reference shows it: what it is called with is not what a group is made of."""

    def __new__(cls, errors: list[Exception], code: int) -> "Called":
        self = super().__new__(cls, f"exit code {code}", errors)
        self.code = code
        return self


class Named(ExceptionGroup[Exception]):
    message = "of the class"  # type: ignore[assignment]

    def __new__(cls, name: str, errors: list[Exception]) -> "Named":
        return super().__new__(cls, f"{name} failed", errors)


class Guarded(Exception):
    """Its args and attributes are its own matter."""

    @property
    def args(self) -> tuple[object, ...]:  # type: ignore[override]
        return ("shown",)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Raised(Exception):
    def __init__(self) -> None:
        raise AssertionError("made only once")


def noted() -> Exception:
    error = Plain(1)
    error.add_note("a note")
    error.extra = [1]  # type: ignore[attr-defined]
    return error


EXCEPTIONS: list[BaseException] = [
    Plain(),
    Plain("one", 2),
    noted(),
    Slotted("ab"),
    Keyword(code=3),
    OwnNew(1, 2),
    Coded("gone"),
    Undecodable(b"\xff"),
    Group([ValueError(1)]),
    Called([ValueError(1), KeyError(2)], 3),
    Named("it", [ValueError(1)]),
    Guarded("kept"),
    Raised.__new__(Raised, "never initialised"),
    OSError(2, "No such file", "a", None, "b"),
    ConnectionRefusedError(111, "refused"),
    BlockingIOError(11, "full", 7),
    UnicodeEncodeError("ascii", "\xe9", 0, 1, "no"),
    UnicodeTranslateError("\xe9", 0, 1, "no"),
    KeyError("key"),
    StopIteration(5),
    SystemExit(3),
    ImportError("no", name="n", path="p"),
    SyntaxError("bad", ("file", 1, 2, "text", 1, 3)),
    AttributeError("no", name="n", obj=[]),
    NameError("no", name="n"),
    asyncio.CancelledError("enough"),
    KeyboardInterrupt(),
    ExceptionGroup("several", [ValueError(1), TypeError(2)]),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
]
FIELDS = ["errno", "strerror", "filename", "filename2", "characters_written", "encoding", "object", "start"]
FIELDS += ["end", "reason", "value", "code", "name", "path", "msg", "lineno", "offset", "text", "end_lineno"]
FIELDS += ["obj", "message", "exceptions", "detail", "private", "sum", "what", "count", "extra"]


def fields(error: BaseException) -> dict[str, Any]:
    return {name: getattr(error, name) for name in FIELDS if hasattr(error, name)}


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_it_is_another_one_that_cannot_be_told_from_the_first(error: BaseException) -> None:
    made = Keyword.made
    own = _core._own_exception(error)
    assert own is not error
    assert type(own) is type(error)
    assert own.args == error.args
    assert str(own) == str(error)
    assert fields(own) == fields(error)
    assert getattr(own, "__notes__", None) == getattr(error, "__notes__", None)
    assert Keyword.made == made


def test_what_is_done_to_one_stays_with_it() -> None:
    error = noted()
    one, other = _core._own_exception(error), _core._own_exception(error)
    one.add_note("mine")
    one.mine = 1  # type: ignore[attr-defined]
    assert raised(one).__traceback__ is not None
    assert other.__traceback__ is None
    assert error.__traceback__ is None
    assert not hasattr(other, "mine")
    assert other.__notes__ == error.__notes__ == ["a note"]


def test_the_first_is_its_cause_and_tells_where_it_was_raised() -> None:
    error = raised(Plain("first"))
    own = raised(_core._own_exception(error))
    assert own.__cause__ is error
    assert len(traceback.extract_tb(error.__traceback__)) == 1


def test_a_cause_that_the_first_has_is_kept() -> None:
    error = Plain("first")
    cause = error.__cause__ = KeyError("cause")
    context = error.__context__ = ValueError("context")
    own = _core._own_exception(raised(error))
    assert own.__cause__ is cause
    assert own.__context__ is context
    assert own.__traceback__ is error.__traceback__


def test_many_raises_do_not_add_up() -> None:
    error = raised(Plain("first"))
    for _ in range(100):
        own = raised(_core._own_exception(error))
        assert len(traceback.extract_tb(own.__traceback__)) == 1
    assert len(traceback.extract_tb(error.__traceback__)) == 1


def test_nothing_is_left_of_it() -> None:
    class Kept(Exception):
        pass

    references = [weakref.ref(_core._own_exception(Kept())) for _ in range(3)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_what_is_no_exception_is_refused() -> None:
    with pytest.raises(TypeError, match="error=3"):
        _core._own_exception(3)  # type: ignore[type-var]
