"""One function over many items: order, errors, deadlines, cancellation, back-pressure."""

import asyncio
import contextvars
import gc
import hashlib
import math
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial

import pytest

from mcp_performance import (
    BatchError,
    BatchProcessor,
    ConfigurationError,
)


def double(item: int) -> int:
    return 2 * item


def odd_fails(item: int) -> int:
    if item % 2:
        raise ValueError(f"odd: {item}")
    return item


async def test_results_come_in_the_order_of_the_items() -> None:
    async with BatchProcessor() as batch:
        result = await batch.map(double, range(20_000))
    assert result.results == [2 * item for item in range(20_000)]
    assert (result.succeeded, result.failed, result.errors) == (20_000, 0, {})
    assert result.elapsed > 0
    assert result.throughput == pytest.approx(20_000 / result.elapsed)


@pytest.mark.parametrize("kind", [None, "cpu", "blocking"])
@pytest.mark.parametrize("chunk_size", [None, 1, 7])
async def test_every_kind_and_chunk_size_gives_the_same(kind, chunk_size) -> None:
    async with BatchProcessor(4) as batch:
        result = await batch.map(odd_fails, range(500), kind=kind, chunk_size=chunk_size)
    assert result.results == [item if item % 2 == 0 else None for item in range(500)]
    assert list(result.errors) == list(range(1, 500, 2))


async def test_an_item_that_fails_keeps_its_own_error() -> None:
    async with BatchProcessor() as batch:
        result = await batch.map(odd_fails, [0, 1, 2, 3])
    assert result.results == [0, None, 2, None]
    assert {index: str(error) for index, error in result.errors.items()} == {1: "odd: 1", 3: "odd: 3"}
    assert result.errors[1].__traceback__ is not None
    with pytest.raises(ExceptionGroup, match="2 of 4 items failed") as caught:
        result.raise_errors()
    assert caught.value.exceptions == (result.errors[1], result.errors[3])


@pytest.mark.parametrize("kind", [None, "cpu", "blocking"])
async def test_a_coroutine_of_a_plain_function_is_its_items_error(kind) -> None:
    async def double(item: int) -> int:
        return 2 * item

    async with BatchProcessor(2) as batch:
        result = await batch.map(lambda item: double(item) if item else "plain", range(3), kind=kind)
    assert result.results == ["plain", None, None]
    assert {index: type(error) for index, error in result.errors.items()} == {1: TypeError, 2: TypeError}


async def test_none_is_a_result() -> None:
    async with BatchProcessor() as batch:
        result = await batch.map(lambda _: None, [1, 2])
    assert (result.results, result.errors, result.succeeded) == ([None, None], {}, 2)
    result.raise_errors()


async def test_no_items_give_an_empty_result() -> None:
    async with BatchProcessor() as batch:
        result = await batch.map(double, [])
    assert (result.results, result.errors, result.throughput) == ([], {}, 0.0)


async def test_blocking_calls_run_at_the_same_time() -> None:
    barrier = threading.Barrier(10)  # for ever, unless all ten are inside
    async with BatchProcessor(10) as batch:
        result = await batch.map(lambda _: barrier.wait() >= 0, range(100), chunk_size=1)
    assert result.results == [True] * 100
    assert result.kind == "blocking"
    assert result.workers == 10


async def test_functions_that_compute_release_the_lock_and_say_how_they_ran() -> None:
    data = bytes(1 << 20)
    async with BatchProcessor() as batch:
        result = await batch.map(lambda _: hashlib.sha256(data).hexdigest(), range(64), kind="cpu")
    assert set(result.results) == {hashlib.sha256(data).hexdigest()}
    assert result.kind == "cpu"
    assert result.cpu_seconds > 0


async def test_the_loop_runs_while_functions_block() -> None:
    release = threading.Event()
    async with BatchProcessor(2) as batch:
        running = asyncio.ensure_future(batch.map(lambda _: release.wait(), [1]))
        await asyncio.sleep(0)
        release.set()  # from the loop: nobody else would
        assert (await running).results == [True]


async def test_coroutine_functions_run_on_the_loop_within_their_bound() -> None:
    loop = asyncio.get_running_loop()
    inside = most = 0

    async def call(item: int) -> int:
        nonlocal inside, most
        assert asyncio.get_running_loop() is loop
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return odd_fails(item)

    async with BatchProcessor() as batch:
        result = await batch.map(call, range(50), concurrency=7)
        assert most == 7
        most = 0
        assert (await batch.map(partial(call), range(50))).results == result.results
    assert most == 50
    assert result.results == [item if item % 2 == 0 else None for item in range(50)]
    assert len(result.errors) == 25
    assert (result.kind, result.workers) == ("async", 7)


async def test_a_plain_function_that_returns_awaitables_is_run_as_asked() -> None:
    async def call(item: int) -> int:
        return item + 1

    async with BatchProcessor() as batch:
        result = await batch.map(lambda item: call(item), [1, 2], kind="async")
    assert result.results == [2, 3]


variable = contextvars.ContextVar("variable", default="unset")


async def test_functions_see_the_callers_context_and_do_not_change_it() -> None:
    def read_and_set(item: int) -> str:
        seen = variable.get()
        variable.set(f"set by {item}")
        return seen

    async def read_and_set_async(item: int) -> str:
        return read_and_set(item)

    variable.set("caller")
    async with BatchProcessor() as batch:
        assert (await batch.map(read_and_set, range(4), chunk_size=1)).results == ["caller"] * 4
        assert (await batch.map(read_and_set_async, range(4))).results == ["caller"] * 4
    assert variable.get() == "caller"


async def test_thread_locals_last_from_one_item_to_the_next() -> None:
    local = threading.local()

    def count(_: int) -> int:
        local.count = getattr(local, "count", 0) + 1
        return local.count

    async with BatchProcessor(1) as batch:
        assert (await batch.map(count, range(5), chunk_size=1)).results == [1, 2, 3, 4, 5]
        assert (await batch.map(count, range(2))).results == [6, 7]


async def test_at_the_deadline_the_rest_fails_and_what_is_done_is_kept() -> None:
    release = threading.Event()

    def wait_for_two(item: int) -> int:
        if item >= 2:
            release.wait()
        return item

    batch = BatchProcessor(1)
    result = await batch.map(wait_for_two, range(5), timeout=0.05, chunk_size=1, kind="blocking")
    assert result.results == [0, 1, None, None, None]
    assert {index: type(error) for index, error in result.errors.items()} == dict.fromkeys(
        [2, 3, 4], TimeoutError
    )
    release.set()
    await batch.close()


async def test_at_the_deadline_coroutines_are_cancelled() -> None:
    cancelled = 0

    async def call(item: int) -> int:
        nonlocal cancelled
        if item:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
        return item

    async with BatchProcessor() as batch:
        result = await batch.map(call, [0, 1, 2], timeout=0.02, concurrency=2)
    assert result.results == [0, None, None]
    assert cancelled == 2
    assert [type(error) for error in result.errors.values()] == [TimeoutError, TimeoutError]


async def test_cancelling_starts_nothing_more_and_leaves_the_processor_usable() -> None:
    started: list[int] = []
    inside, release = threading.Event(), threading.Event()

    def call(item: int) -> int:
        started.append(item)
        inside.set()
        release.wait()
        return item

    batch = BatchProcessor(1)
    running = asyncio.ensure_future(batch.map(call, range(100), kind="blocking"))
    await asyncio.to_thread(inside.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    release.set()
    assert (await batch.map(double, [1, 2])).results == [2, 4]
    assert started == [0]
    await batch.close()


async def test_cancelling_cancels_the_coroutines() -> None:
    inside, left = asyncio.Event(), asyncio.Event()

    async def call(item: int) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with BatchProcessor() as batch:
        running = asyncio.ensure_future(batch.map(call, [1]))
        await inside.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert left.is_set()


async def test_a_coroutine_that_is_cancelled_from_within_is_an_error_of_its_item() -> None:
    async def call(item: int) -> int:
        if item == 1:
            raise asyncio.CancelledError
        return item

    async with BatchProcessor() as batch:
        result = await batch.map(call, range(3))
    assert result.results == [0, None, 2]
    assert isinstance(result.errors[1], asyncio.CancelledError)


async def test_a_lazy_input_is_not_read_further_ahead_than_needed() -> None:
    release = threading.Event()
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(1000):
            read += 1
            yield item

    async with BatchProcessor(2) as batch:
        running = asyncio.ensure_future(batch.map(lambda _: release.wait(), items(), kind="blocking"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert read <= 4
        release.set()
        assert (await running).succeeded == 1000
    assert read == 1000


async def test_an_async_input_is_read_as_room_comes_free() -> None:
    read = 0

    async def items() -> AsyncIterator[int]:
        nonlocal read
        for item in range(300):
            read += 1
            yield item
            await asyncio.sleep(0)

    gate = asyncio.Event()

    async def call(item: int) -> int:
        await gate.wait()
        return item

    async with BatchProcessor() as batch:
        running = asyncio.ensure_future(batch.map(call, items(), concurrency=5))
        for _ in range(100):
            await asyncio.sleep(0)
        assert read <= 11
        gate.set()
        assert (await running).results == list(range(300))


@pytest.mark.parametrize("kind", [None, "blocking", "cpu"])
async def test_a_long_generator_of_short_items(kind) -> None:
    async with BatchProcessor(3) as batch:
        result = await batch.map(double, (item for item in range(30_000)), kind=kind)
    assert result.results == [2 * item for item in range(30_000)]


async def test_an_input_that_raises_ends_the_call_with_its_error() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async with BatchProcessor() as batch:
        with pytest.raises(LookupError, match="no more"):
            await batch.map(double, items())
        assert (await batch.map(double, [4])).results == [8]


async def test_progress_is_told_up_to_the_end() -> None:
    told: list[tuple[int, int | None]] = []
    async with BatchProcessor() as batch:
        await batch.map(double, range(100), progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (100, 100)
        told.clear()
        await batch.map(double, iter(range(50)), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (50, None)


async def test_progress_shows_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with BatchProcessor() as batch:
        await batch.map(double, range(40), progress=True)
    assert "40 of 40 (100%) items" in capsys.readouterr().err


async def test_outcomes_are_streamed_as_they_come() -> None:
    release = threading.Event()

    def first_waits(item: int) -> int:
        if item == 0:
            release.wait()
        return item

    seen = []
    async with BatchProcessor(2) as batch:
        async for outcome in batch.stream(first_waits, range(5), kind="blocking", chunk_size=1):
            seen.append(outcome.index)
            assert outcome.result() == outcome.index
            if len(seen) == 4:
                release.set()
    assert seen == [1, 2, 3, 4, 0]


async def test_a_stream_can_be_ordered() -> None:
    async with BatchProcessor(4) as batch:
        outcomes = [
            outcome async for outcome in batch.stream(odd_fails, range(1000), ordered=True, chunk_size=3)
        ]
    assert [outcome.index for outcome in outcomes] == list(range(1000))
    assert outcomes[4].result() == 4
    with pytest.raises(ValueError, match="odd: 5"):
        outcomes[5].result()


async def test_a_slow_consumer_of_a_stream_holds_back_the_input() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for item in range(1000):
            read += 1
            yield item

    async with BatchProcessor(2) as batch:
        consumed = 0
        async for _ in batch.stream(double, items(), buffer=10):
            consumed += 1
            for _ in range(5):
                await asyncio.sleep(0)
            assert read - consumed <= 10
    assert consumed == 1000


async def test_leaving_a_stream_early_starts_nothing_more() -> None:
    started: list[int] = []

    def call(item: int) -> int:
        started.append(item)
        return item

    batch = BatchProcessor(1)
    async with aclosing(batch.stream(call, range(10_000), buffer=8)) as outcomes:
        async for _ in outcomes:
            break
    await batch.close()
    assert len(started) <= 9


async def test_a_stream_raises_what_its_input_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError

    async with BatchProcessor() as batch:
        outcomes = batch.stream(double, items())
        assert (await anext(outcomes)).result() == 2
        with pytest.raises(LookupError):
            await anext(outcomes)


async def test_a_stream_of_coroutines() -> None:
    async with BatchProcessor() as batch:

        async def call(item: int) -> int:
            return double(item)

        values = [outcome.result() async for outcome in batch.stream(call, range(200), concurrency=3)]
    assert sorted(values) == [2 * item for item in range(200)]


@pytest.mark.parametrize("make", [partial(ThreadPoolExecutor, 2), partial(ProcessPoolExecutor, 2)])
async def test_any_executor_can_be_the_engine(make) -> None:
    with make() as executor:
        async with BatchProcessor(executor=executor) as batch:
            result = await batch.map(odd_fails, range(200))
            lazy = await batch.map(double, iter(range(500)))
            streamed = [outcome.result() async for outcome in batch.stream(double, range(100))]
        assert executor.submit(double, 2).result() == 4  # it stays the caller's
    assert result.results == [item if item % 2 == 0 else None for item in range(200)]
    assert [str(error) for error in result.errors.values()] == [f"odd: {n}" for n in range(1, 200, 2)]
    assert lazy.results == [2 * item for item in range(500)]
    assert sorted(streamed) == [2 * item for item in range(100)]
    assert result.kind == "executor"


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def not_sent_back(item: int) -> object:
    if item == 1:
        return lambda: None
    if item == 2:
        raise Unpicklable(1, 2)
    return item


async def test_what_a_process_cannot_send_back_fails_alone() -> None:
    with ProcessPoolExecutor(1) as executor:
        result = await BatchProcessor(executor=executor).map(not_sent_back, range(4), chunk_size=4)
    assert result.results == [0, None, None, 3]
    assert [type(error) for error in result.errors.values()] == [BatchError, BatchError]
    assert "1 and 2" in str(result.errors[2])


async def test_an_executor_that_was_shut_down_fails_every_item() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    result = await BatchProcessor(executor=executor).map(double, [1, 2])
    assert result.results == [None, None]
    assert all(isinstance(error, RuntimeError) for error in result.errors.values())


async def test_closing_waits_for_what_runs_and_refuses_more() -> None:
    release, inside = threading.Event(), threading.Event()

    def call(item: int) -> int:
        inside.set()
        release.wait()
        return item

    batch = BatchProcessor(1)
    running = asyncio.ensure_future(batch.map(call, [1, 2, 3]))
    await asyncio.to_thread(inside.wait)
    closing = asyncio.ensure_future(batch.close())
    await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(BatchError, match="closed"):
        await batch.map(double, [1])
    release.set()
    await closing
    assert (await running).results == [1, 2, 3]
    await batch.close()


async def test_one_processor_serves_several_loops() -> None:
    batch = BatchProcessor(4)
    answers: dict[int, list[int | None]] = {}

    def run(number: int) -> None:
        async def main() -> None:
            answers[number] = (await batch.map(double, range(number, number + 500))).results

        asyncio.run(main())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert answers == {n: [2 * item for item in range(n, n + 500)] for n in range(4)}
    await batch.close()


async def test_maps_that_run_at_the_same_time_share_the_threads() -> None:
    async with BatchProcessor(2) as batch:
        results = await asyncio.gather(*(batch.map(double, range(n, n + 300)) for n in range(20)))
    assert [result.results[0] for result in results] == [2 * n for n in range(20)]


async def test_functions_and_items_are_let_go_at_the_end() -> None:
    class Thing:
        pass

    things = [Thing() for _ in range(10)]
    references = [weakref.ref(thing) for thing in things]
    async with BatchProcessor() as batch:
        result = await batch.map(lambda thing: id(thing), things)
    del things
    gc.collect()
    assert [reference() for reference in references] == [None] * 10
    assert result.succeeded == 10


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": math.nan}, "timeout=nan"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": 3}, "concurrency=3: expected at most max_workers=2"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"kind": "gpu"}, "kind='gpu'"),
    ],
)
async def test_a_bad_option_is_named_with_its_value(options, expected) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        await BatchProcessor(2).map(double, [1], **options)


@pytest.mark.parametrize("value", [0, -1, 2**63])
def test_a_bad_number_of_workers_is_named(value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"max_workers={value}"):
        BatchProcessor(value)


@pytest.mark.parametrize("kind", ["cpu", "blocking"])
async def test_a_coroutine_function_is_not_run_on_threads(kind) -> None:
    async def call(item: int) -> int:
        return item

    with pytest.raises(ConfigurationError, match=f"kind='{kind}': fn is a coroutine function"):
        await BatchProcessor().map(call, [1], kind=kind)


async def test_a_wrong_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_workers=True"):
        BatchProcessor(True)
    with pytest.raises(TypeError, match="executor='threads'"):
        BatchProcessor(executor="threads")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fn=3"):
        await BatchProcessor().map(3, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="timeout='soon'"):
        await BatchProcessor().map(double, [1], timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await BatchProcessor().map(double, 5)  # type: ignore[arg-type]
