"""JSON-RPC from peers and methods that mean no good: each message has one answer, and it is valid."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_performance import JsonRpcDispatcher, JsonRpcError

ran: list[Any] = []


async def echo(*values: Any, **named: Any) -> Any:
    ran.append(values or named)
    return values[0] if values else named


def plain(value: Any = None) -> Any:
    ran.append(value)
    return value


METHODS: dict[str, Callable[..., Any]] = {"echo": echo, "plain": plain, "\ud800": echo}


def error(code: int, message: str, call_id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": call_id}


def result(value: Any, call_id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": call_id}


def call(members: str) -> str:
    return '{"jsonrpc": "2.0", "method": "echo", ' + members + "}"


PARSE, INVALID, INTERNAL = (
    error(-32700, "Parse error"),
    error(-32600, "Invalid Request"),
    error(-32603, "Internal error"),
)


def too_large(call_id: Any) -> dict[str, Any]:
    answer = error(-32602, "Invalid params", call_id)
    answer["error"]["data"] = "a number is too large"
    return answer


GOOD = call('"params": [7], "id": 1')

# The message, its answer, and the parameters that methods saw.
CASES: dict[str, tuple[str | bytes, Any, list[Any]]] = {
    "an infinite id": (call('"id": 1e400'), INVALID, []),
    "a negative infinite id": (call('"id": -1e400'), INVALID, []),
    "a boolean id": (call('"id": true'), INVALID, []),
    "a list as id": (call('"id": [1]'), INVALID, []),
    "an object as id": (call('"id": {}'), INVALID, []),
    "an id with a fraction": (call('"params": [1], "id": 1.5'), result(1, 1.5), [(1,)]),
    "an id of null": (call('"params": [1], "id": null'), result(1, None), [(1,)]),
    "a long id": (call(f'"params": [1], "id": {10**4000}'), result(1, 10**4000), [(1,)]),
    "an id too long to be read": (call(f'"id": {"9" * 5000}'), PARSE, []),
    "a number too long to be read": (call(f'"params": [{"9" * 5000}], "id": 1'), PARSE, []),
    "a lone surrogate in the id": (call(r'"params": [1], "id": "\ud800"'), result(1, "\ud800"), [(1,)]),
    "a lone surrogate in the parameters": (
        call(r'"params": ["\udfff"], "id": 1'),
        result("\udfff", 1),
        [("\udfff",)],
    ),
    "a lone surrogate as the method": (
        r'{"jsonrpc": "2.0", "method": "\ud800", "params": [1], "id": 1}',
        result(1, 1),
        [(1,)],
    ),
    "a lone surrogate as an unknown method": (
        r'{"jsonrpc": "2.0", "method": "\udc00", "id": 1}',
        error(-32601, "Method not found", 1),
        [],
    ),
    "a lone surrogate in the text": (call('"params": ["\ud800"], "id": 1'), PARSE, []),
    "bytes that are not UTF-8": (b'{"jsonrpc": "2.0", "method": "echo", "id": "\xff"}', PARSE, []),
    "UTF-8 that encodes a surrogate": (
        b'{"jsonrpc": "2.0", "method": "echo", "id": "\xed\xa0\x80"}',
        PARSE,
        [],
    ),
    "UTF-16": (GOOD.encode("utf-16"), PARSE, []),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), result(7, 1), [(7,)]),
    "a byte order mark in text": ("\ufeff" + GOOD, result(7, 1), [(7,)]),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + GOOD.encode(), PARSE, []),
    "lists without an end": ("[" * 100_000, PARSE, []),
    "a depth of 100,000": ("[" * 100_000 + "]" * 100_000, PARSE, []),
    "a depth of 100,000 in a call": (
        call('"id": 1, "params": ' + "[" * 100_000 + "]" * 100_000),
        PARSE,
        [],
    ),
    "objects 100,000 deep": ('{"a":' * 100_000 + "1" + "}" * 100_000, PARSE, []),
    "NaN": (call('"params": [NaN], "id": 1'), PARSE, []),
    "an infinite parameter": (call('"params": [1, 1e400], "id": 1'), too_large(1), []),
    "a negative one by name": (call('"params": {"a": -1e400}, "id": 1'), too_large(1), []),
    "a deep one": (call('"params": [[{"a": [1e999]}]], "id": "x"'), too_large("x"), []),
    "one of a notification": (call('"params": [1e400]'), None, []),
    "one among good calls": (
        f"[{GOOD}, {call(chr(34) + 'params' + chr(34) + ': [1e400], ' + chr(34) + 'id' + chr(34) + ': 2')}]",
        [result(7, 1), too_large(2)],
        [(7,)],
    ),
    "the largest float": (
        call('"params": [1.7976931348623157e308], "id": 1'),
        result(1.7976931348623157e308, 1),
        [(1.7976931348623157e308,)],
    ),
    "a number that is too small": (call('"params": [1e-400], "id": 1'), result(0.0, 1), [(0.0,)]),
    "an unknown member that is infinite": (call('"params": [7], "x": 1e400, "id": 1'), result(7, 1), [(7,)]),
    "Infinity": (call('"params": {"a": -Infinity}, "id": 1'), PARSE, []),
    "a comma at the end": (call('"params": [1,], "id": 1'), PARSE, []),
    "a control character in a string": (call('"params": ["\n"], "id": 1'), PARSE, []),
    "NUL": ("\0", PARSE, []),
    "two messages": (GOOD + GOOD, PARSE, []),
    "the last of two ids counts": (call('"params": [1], "id": 1, "id": 2'), result(1, 2), [(1,)]),
    "a string": ('"a"', INVALID, []),
    "a number": ("1e999", INVALID, []),
    "null": ("null", INVALID, []),
    "no version": ('{"method": "echo", "id": 1}', INVALID | {"id": 1}, []),
    "a version that is a number": ('{"jsonrpc": 2.0, "method": "echo", "id": 1}', INVALID | {"id": 1}, []),
    "parameters that are a string": (call('"params": "a", "id": 1'), INVALID | {"id": 1}, []),
    "an invalid notification": (call('"params": 1'), INVALID, []),
    "a method that is no string": (
        '{"jsonrpc": "2.0", "method": ["echo"], "id": 1}',
        INVALID | {"id": 1},
        [],
    ),
    "an unknown notification": ('{"jsonrpc": "2.0", "method": "rpc.none"}', None, []),
    "a notification": (call('"params": [3]'), None, [(3,)]),
    "an empty batch": ("[]", INVALID, []),
    "an empty batch with spaces": (" [ ] ", INVALID, []),
    "a batch in a batch": (f"[[{GOOD}]]", [INVALID], []),
    "one bad element among good ones": (
        f"[{GOOD}, {call(chr(34) + 'id' + chr(34) + ': 1e400')}, 1, {GOOD}]",
        [result(7, 1), INVALID, INVALID, result(7, 1)],
        [(7,), (7,)],
    ),
    "ids that are the same": (f"[{GOOD}, {GOOD}]", [result(7, 1)] * 2, [(7,), (7,)]),
    "a batch that breaks off": (f"[{GOOD}, ", PARSE, []),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_message_has_one_answer_and_runs_nothing_before_it_is_checked(name: str) -> None:
    message, expected, calls = CASES[name]
    ran.clear()
    async with JsonRpcDispatcher(METHODS) as rpc:
        answer = await rpc.handle(message)
    assert (None if answer is None else json.loads(answer)) == expected
    assert ran == calls


@pytest.mark.parametrize(
    "call_id",
    [float("inf"), float("nan"), 10**5000, (), b"a", object()],
    ids=["inf", "nan", "long", "tuple", "bytes", "object"],
)
async def test_an_id_that_json_cannot_hold_is_refused_of_parsed_messages_too(call_id: Any) -> None:
    async with JsonRpcDispatcher(METHODS) as rpc:
        calls = [{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": i} for i in (call_id, 2)]
        assert await rpc.dispatch(calls) == [INVALID, result(1, 2)]


async def test_what_is_neither_text_nor_bytes_is_the_programs_mistake() -> None:
    async with JsonRpcDispatcher(METHODS) as rpc:
        assert json.loads(await rpc.handle(bytearray(GOOD.encode())) or b"") == result(7, 1)
        with pytest.raises(TypeError, match="message: expected bytes or a string, not dict"):
            await rpc.handle({})  # type: ignore[arg-type]


# Methods


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class HalfMade(JsonRpcError):
    def __init__(self) -> None:
        pass


class Unwritable(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


class Later:
    def __await__(self) -> Any:
        yield


def raising(failure: Callable[[], BaseException]) -> Callable[[], Any]:
    def fail() -> None:
        raise failure()

    return fail


FAILURES: dict[str, Callable[[], Any]] = {
    "an exception without a text": raising(Unprintable),
    "an error of its own that is not made": raising(HalfMade),
    "an error of its own with data that is not JSON": raising(lambda: JsonRpcError(1, "m", {1})),
    "an error of its own without a number": lambda: JsonRpcError("1", "m"),  # type: ignore[arg-type]
    "a cancellation of its own": raising(asyncio.CancelledError),
    "a time-out of its own": raising(TimeoutError),
    "the end of an iterator": raising(lambda: ValueError("\ud800")),
    "a result that is not JSON": lambda: {1},
    "a result that is no number": lambda: float("nan"),
    "a result too long to be written": lambda: 10**5000,
    "a result too deep to be written": deep,
    "a result that holds itself": lambda: [holding := [], holding.append(holding)],
    "a result that fails when it is read": lambda: Unwritable(a=1),
    "names that are not strings": lambda: {(1, 2): 3},
    "a coroutine of a plain function": lambda: echo(1),
    "something else to be awaited": lambda: Later(),
}


@pytest.mark.parametrize("expose_errors", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", FAILURES)
async def test_a_method_that_fails_is_its_own_calls_internal_error(
    name: str, is_async: bool, expose_errors: bool
) -> None:
    fail = FAILURES[name]

    async def awaited() -> Any:
        return fail()

    methods = METHODS | {"fail": awaited if is_async else fail}
    batch = f'[{GOOD}, {{"jsonrpc": "2.0", "method": "fail", "id": 2}}, {GOOD}]'
    async with JsonRpcDispatcher(methods, expose_errors=expose_errors) as rpc:
        first, failed, last = json.loads(await rpc.handle(batch) or b"")
    assert first == last == result(7, 1)
    failed["error"].pop("data", None)
    assert failed == INTERNAL | {"id": 2}


async def test_a_method_that_cancels_its_own_task_has_failed() -> None:
    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with JsonRpcDispatcher({"cancel": cancel}, timeout=30) as rpc:
        answer = await rpc.dispatch({"jsonrpc": "2.0", "method": "cancel", "id": 1})
    assert answer == INTERNAL | {"id": 1}


class Abort(BaseException):
    pass


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Abort])
async def test_what_ends_a_program_comes_out_of_dispatch_once(
    kind: type[BaseException], is_async: bool
) -> None:
    unretrieved: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    thrown = kind("stop")
    cancelled: list[str] = []

    def stop() -> None:
        raise thrown

    async def awaited() -> None:
        stop()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("forever")

    async with JsonRpcDispatcher({"stop": awaited if is_async else stop, "forever": forever}) as rpc:
        calls = [{"jsonrpc": "2.0", "method": name, "id": 1} for name in ("forever", "stop")]
        caught: list[BaseException] = []
        try:
            await rpc.dispatch(calls)
        except BaseException as error:
            caught.append(error)
        assert caught == [thrown]
        assert cancelled == ["forever"]
        with pytest.raises(kind):
            await rpc.handle('{"jsonrpc": "2.0", "method": "stop"}')  # a notification as well
    await asyncio.sleep(0)
    assert unretrieved == []


async def test_a_cancelled_caller_cancels_all_and_gets_no_answer() -> None:
    there = threading.Barrier(2, timeout=30)
    cancelled = 0

    async def forever() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    methods = {"forever": forever, "wait": there.wait}
    async with JsonRpcDispatcher(methods) as rpc:
        calls = [{"jsonrpc": "2.0", "method": name, "id": 1} for name in ("forever", "forever", "wait")]
        message = asyncio.ensure_future(rpc.dispatch(calls))
        await asyncio.to_thread(there.wait)
        message.cancel()
        with pytest.raises(asyncio.CancelledError):
            await message
    assert cancelled == 2


async def test_a_signature_is_read_once() -> None:
    reads = 0

    class Counting:
        @property
        def __signature__(self) -> None:
            nonlocal reads
            reads += 1

        def __call__(self) -> int:
            return 1

    async with JsonRpcDispatcher({"count": Counting()}) as rpc:
        before = reads
        for _ in range(5):
            assert await rpc.dispatch({"jsonrpc": "2.0", "method": "count", "id": 1}) == result(1, 1)
    assert reads == before


# Whatever the bytes


def is_response(answer: Any) -> bool:
    return (
        isinstance(answer, dict)
        and answer["jsonrpc"] == "2.0"
        and set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        and (answer["id"] is None or type(answer["id"]) in (str, int, float))
        and (
            "error" not in answer
            or {"code", "message"} <= set(answer["error"]) <= {"code", "message", "data"}
        )
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
calls = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "method": st.sampled_from(["echo", "plain", "nothing", "\ud800"]) | values,
        "params": values,
        "id": values,
    },
)
messages = (calls | st.lists(calls | values, max_size=4) | values).map(lambda each: json.dumps(each).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with a few bytes of it changed, left out or put in."""
    message = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(message)


@given(st.binary(max_size=60) | damaged())
@settings(max_examples=400, deadline=None)
def test_the_answer_to_any_bytes_is_valid_or_nothing(message: bytes) -> None:
    async def ask() -> bytes | None:
        async with JsonRpcDispatcher(METHODS, expose_errors=True) as rpc:
            return await rpc.handle(message)

    answer = asyncio.run(ask())
    if answer is None:
        return

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    parsed = json.loads(answer, parse_constant=refuse)
    if isinstance(parsed, list):
        assert parsed
        assert all(map(is_response, parsed))
    else:
        assert is_response(parsed)
