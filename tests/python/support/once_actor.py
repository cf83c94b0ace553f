"""A process that does deeds, each of which is to be done once, whoever asks for it, and how often.

``python once_actor.py URL NAMESPACE LOG SEED STEPS``. URL is of a Redis server, or the path of a SQLite file.
A line of LOG, which all processes append to, says that a deed was done, or what somebody was told of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import time
import warnings
from typing import Any

from mcp_performance import IdempotencyStore, InProgress, RedisTier, idempotent
from mcp_performance.errors import Error

ROUNDS = 12
"""For how many steps a deed is among those that are asked for."""


class Failed(Exception):
    """A deed that was not done."""


def main(url: str, namespace: str, log: str, *numbers: str) -> None:
    seed, steps = map(int, numbers)
    rng = random.Random(seed)
    told = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    storage: Any = RedisTier(url, namespace=namespace, timeout=0.2) if "://" in url else url
    # Nobody is done with a claim before the round is.
    store = IdempotencyStore(storage, lease=3600.0)
    tokens = itertools.count()

    def begin() -> tuple[str, float]:
        if rng.random() < 0.1:
            raise Failed
        return f"{os.getpid()}.{next(tokens)}", rng.choice((0, 1e-4, 2e-3))

    def tell(what: str, deed: str, token: str) -> None:
        os.write(told, f"{what} {deed} {token}\n".encode())

    @idempotent(key="{deed}", store=store, scope="deeds")
    def do(deed: str) -> str:
        token, seconds = begin()
        tell("did", deed, token)
        time.sleep(seconds)
        return token

    @idempotent(key="{deed}", store=store, scope="deeds")
    async def ado(deed: str) -> str:
        token, seconds = begin()
        tell("did", deed, token)
        await asyncio.sleep(seconds)
        return token

    async def ask(deed: str) -> None:
        for answer in await asyncio.gather(ado(deed), ado(deed), return_exceptions=True):
            if isinstance(answer, str):
                tell("told", deed, answer)
            elif not isinstance(answer, (Failed, Error)):
                raise answer

    answers = 0
    print("ready", flush=True)
    with asyncio.Runner() as runner:
        for step in range(steps):
            deed = f"deed{step // ROUNDS + rng.randrange(3)}"
            try:
                if rng.random() < 0.5:
                    tell("told", deed, do(deed))
                else:
                    runner.run(ask(deed))
                answers += 1
            except (Failed, InProgress, Error):
                continue
    print("done", flush=True)
    sys.stdin.read()
    print(json.dumps({"answers": answers}), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
