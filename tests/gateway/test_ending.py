"""A background task ends, also where a library swallowed its cancellation."""

from __future__ import annotations

import asyncio

from gateway.ending import end_tasks


def test_a_swallowed_cancellation_is_repeated() -> None:
    async def run() -> None:
        swallowed = 0

        async def work() -> None:
            nonlocal swallowed
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            while True:
                try:
                    await asyncio.wait_for(done, 60)
                except asyncio.CancelledError:
                    if swallowed == 2:
                        raise
                    swallowed += 1  # as `wait_for` of Python 3.11 does it

        stubborn, quick = asyncio.create_task(work()), asyncio.create_task(asyncio.sleep(60))
        over = asyncio.create_task(asyncio.sleep(0, 7))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            await end_tasks([stubborn, quick, over])
        assert stubborn.cancelled() and quick.cancelled()
        assert (swallowed, over.result()) == (2, 7)

    asyncio.run(run())
