"""JSON-RPC 2.0 batches: an array of calls in, their results and errors in the same order out.

:class:`JsonRpcDispatcher` answers one message, a call or an array of calls, as the specification
(https://www.jsonrpc.org/specification) says. The calls of an array run at the same time, as many as
*concurrency* allows: coroutine functions on the event loop, plain functions on native threads. In a
Starlette application::

    rpc = JsonRpcDispatcher({"add": add, "search": search})

    async def endpoint(request):
        answer = await rpc.handle(await request.body())
        return Response(answer, status_code=200 if answer else 204, media_type="application/json")
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, TypeAlias, cast

from ._base._async_functions import is_async
from ._base._checks import integer, number
from .batch import BatchProcessor
from .batch._processor import Kind
from .errors import BatchError

__all__ = ["JsonRpcDispatcher", "JsonRpcError"]

Method: TypeAlias = Callable[..., Any]
Answer: TypeAlias = dict[str, Any]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
TIMED_OUT = -32000

_MESSAGES = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    TIMED_OUT: "Timed out",
}
_logger = logging.getLogger(__name__)


class JsonRpcError(BatchError):
    """What a method raises to answer with an error of its own.

    Args:
        code: the error's number; -32768 to -32000 are the specification's, of which -32099 to -32000
            are free for servers.
        message: one sentence.
        data: anything that JSON can hold; left out when ``None``.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    function: Method
    args: list[Any]
    kwargs: dict[str, Any]
    id: Any
    answered: bool  # False: a notification


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any
    error: BaseException | None


class JsonRpcDispatcher:
    """Answers JSON-RPC 2.0 messages by calling functions.

    Safe from any event loop. Threads start with the first plain function that is called; close the
    dispatcher with ``await close()`` or ``async with`` to end them.

    Args:
        methods: the functions by their names. Parameters by position or by name become the arguments.
            A plain function runs on a native thread, a coroutine function on the loop.
        concurrency: calls of one message that run at a time, of each of the two kinds.
        max_calls: calls in one message at most; a longer array is one error, and none of it runs.
        max_bytes: bytes of one message at most, for :meth:`handle`.
        timeout: seconds for one message. Calls that have no outcome by then are answered with the
            error -32000; coroutines are cancelled, and threads finish what they are at.
        expose_errors: put the text of unexpected exceptions into the answer's ``data``. Without, a
            caller learns no more than "Internal error", and the exception is logged.

    Raises:
        ConfigurationError: an option is out of its range.
        TypeError: a method is not callable, or an option is of the wrong type.
    """

    def __init__(
        self,
        methods: Mapping[str, Method] | None = None,
        *,
        concurrency: int = 16,
        max_calls: int = 100,
        max_bytes: int = 1 << 20,
        timeout: float | None = None,
        expose_errors: bool = False,
    ) -> None:
        integer("concurrency", concurrency, 1, 1000)
        integer("max_calls", max_calls, 1, 1_000_000)
        integer("max_bytes", max_bytes, 1, 1 << 40)
        if timeout is not None:
            number("timeout", timeout, unit="seconds")
        self._methods: dict[str, Method] = {}
        for name, function in (methods or {}).items():
            self.add(name, function)
        self._concurrency = concurrency
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._expose_errors = expose_errors
        self._batch = BatchProcessor(concurrency)

    def add(self, name: str, function: Method) -> None:
        """Answer calls of the method *name* with *function*.

        Raises:
            TypeError: *name* is not a string, or *function* not callable.
        """
        if not isinstance(name, str):
            raise TypeError(f"name={name!r}: expected a string")
        if not callable(function):
            raise TypeError(f"methods[{name!r}]={function!r}: expected a callable")
        self._methods[name] = function

    async def handle(self, message: bytes | str) -> bytes | None:
        """Answer the JSON text *message* with JSON text.

        Returns:
            The answer in UTF-8; ``None`` when there is nothing to say, for notifications alone.

        Raises:
            BatchError: the dispatcher is closed.
        """
        size = len(message.encode("utf-8", "replace")) if isinstance(message, str) else len(message)
        answer: Answer | list[Answer] | None
        if size > self._max_bytes:
            answer = _error(None, INVALID_REQUEST, f"{size} bytes; at most {self._max_bytes} are read")
        else:
            try:
                parsed = json.loads(message, parse_constant=_refuse_constant)
            except (ValueError, RecursionError):
                answer = _error(None, PARSE_ERROR)
            else:
                answer = await self.dispatch(parsed)
        if answer is None:
            return None
        if isinstance(answer, list):
            return b"[" + b",".join(map(self._encode, answer)) + b"]"
        return self._encode(answer)

    async def dispatch(self, message: Any) -> Answer | list[Answer] | None:
        """Answer a message that is parsed already: one call, or a list of calls.

        Returns:
            One response object for one call; for a list, a list of them in the order of their calls,
            without the notifications; ``None`` when nothing is left.

        Raises:
            BatchError: the dispatcher is closed.
        """
        if not isinstance(message, list):
            answers = await self._answer([message])
            return answers[0] if answers else None
        if not message:
            return _error(None, INVALID_REQUEST)
        if len(message) > self._max_calls:
            return _error(
                None, INVALID_REQUEST, f"{len(message)} calls; at most {self._max_calls} are answered"
            )
        return await self._answer(message) or None

    async def close(self) -> None:
        """Wait for the messages that are being answered, and end the threads. Idempotent."""
        await self._batch.close()

    async def __aenter__(self) -> JsonRpcDispatcher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, messages: list[Any]) -> list[Answer]:
        read = [self._read(message) for message in messages]
        calls = [call for call in read if isinstance(call, _Call)]
        outcomes = iter(await self._run(calls))
        answers: list[Answer] = []
        for each in read:
            if not isinstance(each, _Call):
                if each is not None:
                    answers.append(each)
                continue
            answer = self._response(each, next(outcomes))
            if each.answered:
                answers.append(answer)
        return answers

    def _read(self, message: Any) -> _Call | Answer | None:
        """The call, or its error; ``None`` for a notification that cannot be carried out."""
        if not isinstance(message, dict):
            return _error(None, INVALID_REQUEST)
        call_id = message.get("id")
        known = call_id is None or (isinstance(call_id, str | int | float) and not isinstance(call_id, bool))
        method, params = message.get("method"), message.get("params", [])
        if (
            message.get("jsonrpc") != "2.0"
            or not isinstance(method, str)
            or not isinstance(params, list | dict)
            or not known
        ):
            return _error(call_id if known else None, INVALID_REQUEST)
        answered = "id" in message
        function = self._methods.get(method)
        if function is None:
            return _error(call_id, METHOD_NOT_FOUND) if answered else None
        args, kwargs = (params, {}) if isinstance(params, list) else ([], params)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            signature = None  # a built-in function that does not tell
        if signature is not None:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                return _error(call_id, INVALID_PARAMS, str(error)) if answered else None
        return _Call(method, function, args, kwargs, call_id, answered)

    async def _run(self, calls: list[_Call]) -> list[_Outcome]:
        """The outcomes in the order of *calls*: plain functions on threads, the others on the loop."""
        outcomes = [_Outcome(None, TimeoutError())] * len(calls)
        plain = [index for index, call in enumerate(calls) if not is_async(call.function)]
        others = [index for index, call in enumerate(calls) if is_async(call.function)]

        async def run(kind: Kind, function: Callable[[int], Any], indices: list[int]) -> None:
            if not indices:
                return
            ran = await self._batch.map(
                function, indices, kind=kind, concurrency=self._concurrency, timeout=self._timeout
            )
            for place, index in enumerate(indices):
                error = ran.errors.get(place)
                outcomes[index] = (
                    cast(_Outcome, ran.results[place]) if error is None else _Outcome(None, _TooLate(error))
                )

        await asyncio.gather(
            run("blocking", lambda index: _call_plain(calls[index]), plain),
            run("async", lambda index: _call_async(calls[index]), others),
        )
        return outcomes

    def _response(self, call: _Call, outcome: _Outcome) -> Answer:
        error = outcome.error
        if error is None:
            return {"jsonrpc": "2.0", "result": outcome.value, "id": call.id}
        if isinstance(error, JsonRpcError):
            return _error(call.id, error.code, error.data, error.message)
        if isinstance(error, _TooLate):
            return _error(call.id, TIMED_OUT)
        return self._internal_error(call.id, f"the method {call.method!r} failed", error)

    def _internal_error(self, call_id: Any, what: str, error: BaseException) -> Answer:
        _logger.error("%s", what, exc_info=error)
        return _error(call_id, INTERNAL_ERROR, str(error) if self._expose_errors else None)

    def _encode(self, answer: Answer) -> bytes:
        try:
            return _to_json(answer)
        except (TypeError, ValueError, RecursionError) as error:
            return _to_json(self._internal_error(answer["id"], "a result is not JSON", error))


class _TooLate(Exception):
    """The message's time was over before the call had an outcome."""


def _call_plain(call: _Call) -> _Outcome:
    try:
        return _Outcome(call.function(*call.args, **call.kwargs), None)
    except Exception as error:
        return _Outcome(None, error)


async def _call_async(call: _Call) -> _Outcome:
    try:
        return _Outcome(await call.function(*call.args, **call.kwargs), None)
    except Exception as error:
        return _Outcome(None, error)


def _error(call_id: Any, code: int, data: Any = None, message: str | None = None) -> Answer:
    error = {"code": code, "message": _MESSAGES[code] if message is None else message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "error": error, "id": call_id}


def _to_json(answer: Answer) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
