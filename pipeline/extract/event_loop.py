"""Run coroutines from synchronous code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.log import redact_other_loggers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable


_T = TypeVar("_T")


def run_blocking(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `work` to completion from synchronous code.

    In a running event loop (a notebook) it runs in a thread of its own.
    """
    results: list[_T] = []
    redact_other_loggers()

    async def collect() -> None:
        # not as the task's result: asyncio formats that when it restores SIGINT, even of 100,000 images
        results.append(await work())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(collect())
        return results[0]
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def cancellable() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (it runs in one)
        running.append((asyncio.get_running_loop(), task))
        await collect()

    with ThreadPoolExecutor(1, thread_name_prefix="ens-images") as pool:
        context = contextvars.copy_context()  # the logs keep naming the run
        future = pool.submit(lambda: context.run(asyncio.run, cancellable()))
        try:
            future.result()
        except KeyboardInterrupt:  # a notebook's stop button interrupts this thread only
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise
    return results[0]


async def gather(coroutines: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Run coroutines concurrently; if one fails, cancel the others and wait for them before raising its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
