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
import contextlib
import functools
import inspect
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

from ._base._async_functions import is_async, refuse_awaitable
from ._base._checks import any_function, flag, instance, integer, mapping, number
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
        if not isinstance(code, int) or isinstance(code, bool):
            raise TypeError(f"code={code!r}: expected a whole number")
        if not isinstance(message, str):
            raise TypeError(f"message={message!r}: expected a string")
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class _Method:
    """A function, and what each call of it has to know."""

    function: Callable[..., Any]
    signature: inspect.Signature | None
    """``None``: a built-in function that does not tell."""
    is_async: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Method:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            signature = None
        return cls(function, signature, is_async(function))


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    method: _Method
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
        self._methods: dict[str, _Method] = {}
        for name, method in mapping("methods", methods, "a mapping of names to functions").items():
            instance("methods", name, str, "names as texts")
            self._add(f"methods[{name!r}]", name, method)
        self._concurrency = concurrency
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._expose_errors = flag("expose_errors", expose_errors)
        self._batch = BatchProcessor(concurrency)

    def add(self, name: str, function: Method) -> None:
        """Answer calls of the method *name* with *function*.

        Raises:
            TypeError: *name* is not a string, or *function* not callable.
        """
        self._add("function", instance("name", name, str, "a string"), function)

    def _add(self, option: str, name: str, function: Method) -> None:
        self._methods[name] = _Method.of(any_function(option, function))

    async def handle(self, message: bytes | str) -> bytes | None:
        """Answer the JSON text *message* with JSON text.

        Of members with the same name the last one counts. A number of *params* beyond the range of
        ``float`` is an invalid parameter. Text that is not Unicode, a number that
        Python refuses to read and nesting beyond the interpreter's limit are parse errors.

        Returns:
            The answer, in ASCII; ``None`` when there is nothing to say, for notifications alone.

        Raises:
            BatchError: the dispatcher is closed.
            TypeError: *message* is neither bytes nor a string.
            BaseException: what a method raised to end the program, as :meth:`dispatch` says.
        """
        if not isinstance(message, bytes | bytearray | memoryview | str):
            raise TypeError(f"message: expected bytes or a string, not {type(message).__name__}")
        answer: Answer | list[Answer] | None
        try:
            text = self._decode(message)
            parsed = None if text is None else json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            answer = _error(None, PARSE_ERROR)
        else:
            if text is None:
                answer = _error(None, INVALID_REQUEST, f"at most {self._max_bytes} bytes are read")
            else:
                answer = await self.dispatch(parsed)
        if answer is None:
            return None
        if isinstance(answer, list):
            return b"[" + b",".join(map(self._encode, answer)) + b"]"
        return self._encode(answer)

    def _decode(self, message: bytes | bytearray | memoryview | str) -> str | None:
        """The text without a byte order mark; ``None`` when it is longer than is read."""
        if len(message) > self._max_bytes:  # a character takes a byte or more
            return None
        data = message.encode() if isinstance(message, str) else bytes(message)
        return None if len(data) > self._max_bytes else data.decode("utf-8-sig")

    async def dispatch(self, message: Any) -> Answer | list[Answer] | None:
        """Answer a message that is parsed already: one call, or a list of calls.

        Returns:
            One response object for one call; for a list, a list of them in the order of their calls,
            without the notifications; ``None`` when nothing is left. Every call is checked before the
            first one runs, and whatever becomes of one leaves the others theirs. A method that raises
            ``CancelledError`` has failed like any other.

        Raises:
            BatchError: the dispatcher is closed.
            BaseException: a method raised ``SystemExit``, ``KeyboardInterrupt`` or another exception
                that is no :class:`Exception`. It comes out here alone; the coroutines of the message
                are cancelled, and nothing is answered.
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
        call_id, version = message.get("id"), message.get("jsonrpc")
        name, params = message.get("method"), message.get("params", [])
        known = _is_id(call_id)
        if (
            not (isinstance(version, str) and version == "2.0")
            or not isinstance(name, str)
            or not isinstance(params, list | dict)
            or not known
        ):
            return _error(call_id if known else None, INVALID_REQUEST)
        answered = "id" in message
        method = self._methods.get(name)
        if method is None:
            return _error(call_id, METHOD_NOT_FOUND) if answered else None
        if not _is_finite(params):
            return _error(call_id, INVALID_PARAMS, "a number is too large") if answered else None
        args, kwargs = (params, {}) if isinstance(params, list) else ([], params)
        if method.signature is not None:
            try:
                method.signature.bind(*args, **kwargs)
            except TypeError as error:
                return _error(call_id, INVALID_PARAMS, str(error)) if answered else None
        return _Call(name, method, args, kwargs, call_id, answered)

    async def _run(self, calls: list[_Call]) -> list[_Outcome]:
        """The outcomes in the order of *calls*: plain functions on threads, the others on the loop."""
        loop = asyncio.get_running_loop()
        outcomes = [_Outcome(None, TimeoutError())] * len(calls)
        fatal: list[BaseException] = []
        runs: list[asyncio.Future[None]] = []

        def stop() -> None:
            for run in runs:
                run.cancel()

        def settle(error: BaseException) -> _Outcome:
            if not isinstance(error, Exception | asyncio.CancelledError):
                fatal.append(error)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(stop)
            return _Outcome(None, error)

        async def run(kind: Kind, carry: _Carry, indices: list[int]) -> None:
            ran = await self._batch.map(
                functools.partial(carry, settle),
                [calls[index] for index in indices],
                kind=kind,
                concurrency=self._concurrency,
                timeout=self._timeout,
            )
            for place, index in enumerate(indices):
                error = ran.errors.get(place)
                carried = ran.results[place]
                if isinstance(error, TimeoutError):
                    outcomes[index] = _Outcome(None, _TooLate())
                elif error is not None or carried is None:
                    outcomes[index] = _Outcome(None, error)
                else:
                    outcomes[index] = carried

        plain = [index for index, call in enumerate(calls) if not call.method.is_async]
        others = [index for index, call in enumerate(calls) if call.method.is_async]
        if plain:
            runs.append(asyncio.ensure_future(run("blocking", _call_plain, plain)))
        if others:
            runs.append(asyncio.ensure_future(run("async", _call_async, others)))
        ended = await asyncio.gather(*runs, return_exceptions=True)
        for error in (*fatal[:1], *ended):
            if error is not None:
                raise error
        return outcomes

    def _response(self, call: _Call, outcome: _Outcome) -> Answer:
        try:
            return self._answer_to(call, outcome)
        except Exception:  # an exception object or a log handler that fails itself
            return _error(call.id, INTERNAL_ERROR)

    def _answer_to(self, call: _Call, outcome: _Outcome) -> Answer:
        error = outcome.error
        if error is None:
            return {"jsonrpc": "2.0", "result": outcome.value, "id": call.id}
        if isinstance(error, JsonRpcError):
            return _error(call.id, error.code, error.data, error.message)
        if isinstance(error, _TooLate):
            return _error(call.id, TIMED_OUT)
        return self._internal_error(call.id, f"the method {call.name!r} failed", error)

    def _internal_error(self, call_id: Any, what: str, error: BaseException) -> Answer:
        _logger.error("%s", what, exc_info=error)
        return _error(call_id, INTERNAL_ERROR, str(error) if self._expose_errors else None)

    def _encode(self, answer: Answer) -> bytes:
        try:
            return _to_json(answer)
        except Exception as error:  # the objects in a result are a method's own
            try:
                return _to_json(self._internal_error(answer["id"], "a result is not JSON", error))
            except Exception:
                return _to_json(_error(answer["id"], INTERNAL_ERROR))


_Settle: TypeAlias = Callable[[BaseException], _Outcome]
_Carry: TypeAlias = Callable[[_Settle, _Call], Any]


class _TooLate(Exception):
    """The message's time was over before the call had an outcome."""


def _call_plain(settle: _Settle, call: _Call) -> _Outcome:
    try:
        value = call.method.function(*call.args, **call.kwargs)
        refuse_awaitable(value)
        return _Outcome(value, None)
    except BaseException as error:
        return settle(error)


async def _call_async(settle: _Settle, call: _Call) -> _Outcome:
    try:
        value = await call.method.function(*call.args, **call.kwargs)
        refuse_awaitable(value)
        return _Outcome(value, None)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # it is the message that was cancelled
            raise
        return settle(error)
    except BaseException as error:
        return settle(error)


def _is_id(value: Any) -> bool:
    """A string, a number that can be written as JSON, or null. Fractions are allowed, if unwise."""
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        try:
            int.__repr__(value)
        except ValueError:  # sys.set_int_max_str_digits
            return False
        return True
    return value is None or isinstance(value, str)


def _is_finite(params: Any) -> bool:
    """Whether *params* is free of what JSON cannot say: a number such as ``1e400`` is read as infinite."""
    waiting = [params]
    while waiting:
        inside = waiting.pop()
        for value in inside.values() if isinstance(inside, dict) else inside:
            if isinstance(value, float):
                if not math.isfinite(value):
                    return False
            elif isinstance(value, dict | list):
                waiting.append(value)
    return True


def _error(call_id: Any, code: int, data: Any = None, message: str | None = None) -> Answer:
    error = {"code": code, "message": _MESSAGES[code] if message is None else message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "error": error, "id": call_id}


def _to_json(answer: Answer) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
