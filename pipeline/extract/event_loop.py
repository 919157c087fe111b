"""Run coroutines from synchronous code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


_T = TypeVar("_T")


def run_blocking(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run `work` to its end from synchronous code, in a notebook's running event loop too."""
    became: list[_T] = []

    async def kept_aside() -> None:
        # not the task's result: asyncio spells that out when it gives SIGINT back, 100,000 images and all
        became.append(await work())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(kept_aside())
        return became[0]
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    under_way: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def stoppable() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (it runs in one)
        under_way.append((asyncio.get_running_loop(), task))
        await kept_aside()

    with ThreadPoolExecutor(1, thread_name_prefix="ens-images") as aside:
        here = contextvars.copy_context()  # the logs go on saying whose run it is
        done = aside.submit(lambda: here.run(asyncio.run, stoppable()))
        try:
            done.result()
        except KeyboardInterrupt:  # the notebook's stop button reaches this thread only
            for loop, task in under_way:
                loop.call_soon_threadsafe(task.cancel)
            raise
    return became[0]
