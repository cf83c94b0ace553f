"""JSON-RPC 2.0 batches: the specification's own examples, and what a server needs beyond them."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette import applications, responses, routing

from mcp_performance import BatchError, ConfigurationError, JsonRpcDispatcher, JsonRpcError

notified: list[Any] = []


def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


async def total(*numbers: int) -> int:
    return sum(numbers)


async def get_data() -> list[Any]:
    return ["hello", 5]


async def notify(*values: Any) -> None:
    notified.append(values)


@pytest.fixture
async def rpc() -> AsyncIterator[JsonRpcDispatcher]:
    notified.clear()
    methods = {
        "subtract": subtract,
        "sum": total,
        "get_data": get_data,
        "update": notify,
        "notify_hello": notify,
        "notify_sum": notify,
    }
    async with JsonRpcDispatcher(methods) as dispatcher:
        yield dispatcher


async def ask(rpc: JsonRpcDispatcher, text: str) -> Any:
    answer = await rpc.handle(text)
    return None if answer is None else json.loads(answer)


def error(code: int, message: str, call_id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": call_id}


INVALID = error(-32600, "Invalid Request")

# https://www.jsonrpc.org/specification#examples
EXAMPLES = [
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        {"jsonrpc": "2.0", "result": 19, "id": 1},
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        {"jsonrpc": "2.0", "result": -19, "id": 2},
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        {"jsonrpc": "2.0", "result": 19, "id": 3},
    ),
    ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', error(-32601, "Method not found", "1")),
    ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', error(-32700, "Parse error")),
    ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        error(-32700, "Parse error"),
    ),
    ("[]", INVALID),
    ("[1]", [INVALID]),
    ("[1,2,3]", [INVALID] * 3),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},'
        ' {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
        ' {"foo": "boo"},'
        ' {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
        ' {"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
        [
            {"jsonrpc": "2.0", "result": 7, "id": "1"},
            {"jsonrpc": "2.0", "result": 19, "id": "2"},
            INVALID,
            error(-32601, "Method not found", "5"),
            {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"},
        ],
    ),
    (
        '[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},'
        ' {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]',
        None,
    ),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
async def test_the_examples_of_the_specification(rpc: JsonRpcDispatcher, text: str, expected: Any) -> None:
    assert await ask(rpc, text) == expected


async def test_notifications_are_carried_out(rpc: JsonRpcDispatcher) -> None:
    assert await rpc.handle(EXAMPLES[-1][0]) is None
    assert sorted(notified) == [(1, 2, 4), (7,)]


@pytest.mark.parametrize("call_id", ["", "a", 0, -1, 1.5, None])
async def test_an_id_comes_back_as_it_went(rpc: JsonRpcDispatcher, call_id: Any) -> None:
    answer = await rpc.dispatch({"jsonrpc": "2.0", "method": "get_data", "id": call_id})
    assert answer == {"jsonrpc": "2.0", "result": ["hello", 5], "id": call_id}


@pytest.mark.parametrize("call_id", [True, [], {}])
async def test_an_id_of_another_type_is_an_invalid_request(rpc: JsonRpcDispatcher, call_id: Any) -> None:
    assert await rpc.dispatch({"jsonrpc": "2.0", "method": "get_data", "id": call_id}) == INVALID


@pytest.mark.parametrize("change", [{"jsonrpc": "1.0"}, {"params": 3}, {"params": None}, {"method": None}])
async def test_an_invalid_request_that_has_an_id_keeps_it(rpc: JsonRpcDispatcher, change: Any) -> None:
    call = {"jsonrpc": "2.0", "method": "get_data", "id": 4} | change
    assert await rpc.dispatch(call) == error(-32600, "Invalid Request", 4)


async def test_calls_with_the_same_id_are_all_answered(rpc: JsonRpcDispatcher) -> None:
    calls = [{"jsonrpc": "2.0", "method": "sum", "params": [n], "id": 1} for n in range(3)]
    assert await rpc.dispatch(calls) == [{"jsonrpc": "2.0", "result": n, "id": 1} for n in range(3)]


@pytest.mark.parametrize("params", [[1], [1, 2, 3], {"minuend": 1}, {"minuend": 1, "other": 2}])
async def test_parameters_that_do_not_fit_are_invalid(rpc: JsonRpcDispatcher, params: Any) -> None:
    answer = await rpc.dispatch({"jsonrpc": "2.0", "method": "subtract", "params": params, "id": 1})
    assert isinstance(answer, dict)
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32602, "Invalid params")


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[" * 100_000, b"\xff\xfe", "", "{} {}"])
async def test_what_is_not_json_is_a_parse_error(rpc: JsonRpcDispatcher, text: str | bytes) -> None:
    answer = await rpc.handle(text)
    assert answer is not None
    assert json.loads(answer) == error(-32700, "Parse error")


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_is_logged_and_does_not_leak(is_async: bool, caplog: Any) -> None:
    def plain() -> None:
        raise ValueError("the password is 1234")

    async def awaited() -> None:
        plain()

    call = {"jsonrpc": "2.0", "method": "m", "id": 1}
    async with JsonRpcDispatcher({"m": awaited if is_async else plain}) as rpc:
        with caplog.at_level(logging.ERROR, "mcp_performance.jsonrpc"):
            assert await rpc.dispatch([call]) == [error(-32603, "Internal error", 1)]
    assert "the password is 1234" in caplog.text
    async with JsonRpcDispatcher({"m": awaited if is_async else plain}, expose_errors=True) as rpc:
        (answer,) = await rpc.dispatch([call])  # type: ignore[misc]
    assert answer["error"]["data"] == "the password is 1234"


async def test_a_type_error_inside_a_method_is_no_fault_of_the_parameters() -> None:
    async def broken() -> None:
        raise TypeError("inside")

    async with JsonRpcDispatcher({"broken": broken}) as rpc:
        answer = await rpc.dispatch({"jsonrpc": "2.0", "method": "broken", "id": 1})
    assert answer == error(-32603, "Internal error", 1)


async def test_a_method_answers_with_an_error_of_its_own() -> None:
    def refuse() -> None:
        raise JsonRpcError(-32001, "Too many rows", {"limit": 3})

    async with JsonRpcDispatcher({"refuse": refuse}) as rpc:
        answer = await rpc.dispatch({"jsonrpc": "2.0", "method": "refuse", "id": 1})
    expected = error(-32001, "Too many rows", 1)
    expected["error"]["data"] = {"limit": 3}
    assert answer == expected


async def test_a_result_that_is_not_json_fails_its_own_call_alone() -> None:
    async def give(value: str) -> Any:
        return {"set": {1}, "nan": float("nan"), "fine": 1}[value]

    calls = [
        {"jsonrpc": "2.0", "method": "give", "params": [value], "id": value}
        for value in ("set", "fine", "nan")
    ]
    async with JsonRpcDispatcher({"give": give}) as rpc:
        assert await ask(rpc, json.dumps(calls)) == [
            error(-32603, "Internal error", "set"),
            {"jsonrpc": "2.0", "result": 1, "id": "fine"},
            error(-32603, "Internal error", "nan"),
        ]


async def test_a_message_over_a_limit_is_one_error_and_nothing_runs() -> None:
    async with JsonRpcDispatcher({"update": notify}, max_calls=2, max_bytes=300) as rpc:
        notified.clear()
        call = {"jsonrpc": "2.0", "method": "update", "id": 1}
        for answer in (await rpc.dispatch([call] * 3), await ask(rpc, json.dumps([call] * 10))):
            assert (answer["error"]["code"], answer["id"]) == (-32600, None)  # type: ignore[index,call-overload]
        assert notified == []
        assert len(await rpc.dispatch([call] * 2) or ()) == 2


async def test_no_more_calls_run_at_a_time_than_allowed() -> None:
    running = most = 0

    async def call() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with JsonRpcDispatcher({"call": call}, concurrency=3) as rpc:
        await rpc.dispatch([{"jsonrpc": "2.0", "method": "call"}] * 20)
    assert most == 3


async def test_plain_functions_run_on_other_threads_and_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=30)

    def meet() -> bool:
        barrier.wait()
        return threading.current_thread() is threading.main_thread()

    async with JsonRpcDispatcher({"meet": meet}) as rpc:
        answers = await rpc.dispatch([{"jsonrpc": "2.0", "method": "meet", "id": n} for n in range(2)])
    assert answers == [{"jsonrpc": "2.0", "result": False, "id": n} for n in range(2)]


async def test_what_is_late_is_answered_and_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    calls = [{"jsonrpc": "2.0", "method": name, "id": name} for name in ("forever", "get_data")]
    async with JsonRpcDispatcher({"forever": forever, "get_data": get_data}, timeout=0.5) as rpc:
        answers = await rpc.dispatch(calls)
    assert answers == [
        error(-32000, "Timed out", "forever"),
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "get_data"},
    ]
    assert ended == ["cancelled"]


async def test_a_cancelled_message_cancels_its_calls() -> None:
    started = asyncio.Event()
    ended: list[str] = []

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with JsonRpcDispatcher({"forever": forever}) as rpc:
        message = asyncio.ensure_future(rpc.dispatch({"jsonrpc": "2.0", "method": "forever", "id": 1}))
        await started.wait()
        message.cancel()
        with pytest.raises(asyncio.CancelledError):
            await message
    assert ended == ["cancelled"]


async def test_a_closed_dispatcher_refuses(rpc: JsonRpcDispatcher) -> None:
    await rpc.close()
    with pytest.raises(BatchError, match="closed"):
        await rpc.dispatch({"jsonrpc": "2.0", "method": "get_data", "id": 1})


async def test_it_serves_a_starlette_endpoint() -> None:
    rpc = JsonRpcDispatcher({"sum": total})

    async def endpoint(request: Any) -> Any:
        answer = await rpc.handle(await request.body())
        return responses.Response(answer, status_code=200 if answer else 204, media_type="application/json")

    app = applications.Starlette(routes=[routing.Route("/rpc", endpoint, methods=["POST"])])
    calls = [{"jsonrpc": "2.0", "method": "sum", "params": [1, 2], "id": 1}]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/rpc", json=calls)
        silence = await client.post("/rpc", json={"jsonrpc": "2.0", "method": "sum"})
    assert answer.json() == [{"jsonrpc": "2.0", "result": 3, "id": 1}]
    assert (silence.status_code, silence.content) == (204, b"")
    await rpc.close()


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"max_calls": 0}, {"max_bytes": 0}, {"timeout": -1.0}]
)
def test_a_bad_option_is_named_with_its_value(options: Any) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        JsonRpcDispatcher(**options)


def test_a_method_must_be_callable() -> None:
    with pytest.raises(TypeError, match=r"methods\['m'\]=3"):
        JsonRpcDispatcher({"m": 3})  # type: ignore[dict-item]
