"""An event loop for tests that have none themselves."""

import asyncio
from concurrent.futures import Future
from threading import Thread


class Loop:
    """An event loop in a thread of its own, where nothing takes minutes."""

    def __init__(self):
        started = Future()
        self._thread = Thread(target=asyncio.run, args=[self._live(started)])
        self._thread.start()
        self._loop = started.result()

    def run(self, work):
        """Return what a coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=100)

    def call(self, function, *arguments):
        """Return what a plain function returns that must be called in the loop."""

        async def work():
            return function(*arguments)

        return self.run(work())

    def close(self):
        self.call(self._end.set)
        self._thread.join()

    async def _live(self, started):
        self._end = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._end.wait()
