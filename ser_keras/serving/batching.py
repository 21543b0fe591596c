"""Batcher: computes clips of many requests together in batches."""

import asyncio
import collections


class QueueFullError(Exception):
    """The queue of waiting clips is full."""


class Batcher:
    """Collects items into batches while the worker is busy.

    While a batch is computed, the next one is collected: batches grow with the
    load, and a single item waits at most `max_delay` for others.

    Args:
        run: Function from a list of items to a list of results; called in
            `executor`. If it raises for several items, each item is run alone,
            so that an item fails only by its own fault.
        executor: `concurrent.futures.Executor`.
        max_batch: Largest number of items in a batch.
        max_delay: Seconds that the first item of a batch waits for others.
        max_queue: Largest number of waiting items.
        max_size: Largest size of a padded batch: number of items times size of
            the largest one. A larger item is computed alone.
        size: Function from an item to its size; `len` by default.
        observe: Called with the number of items of each batch.

    >>> import concurrent.futures
    >>> async def main():
    ...     with concurrent.futures.ThreadPoolExecutor(1) as executor:
    ...         batcher = Batcher(lambda clips: [c.upper() for c in clips],
    ...                           executor)
    ...         return await asyncio.gather(*map(batcher.submit, ["a", "b"]))
    >>> asyncio.run(main())
    ['A', 'B']
    """

    def __init__(
        self,
        run,
        executor,
        max_batch=32,
        max_delay=0.002,
        max_queue=2048,
        max_size=10_000_000,
        size=len,
        observe=lambda count: None,
    ):
        self._run = run
        self._executor = executor
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._max_queue = max_queue
        self._max_size = max_size
        self._size = size
        self._observe = observe
        self._waiting = collections.deque()
        self._full = asyncio.Event()
        self._worker = None

    def __len__(self):
        """Number of waiting items."""
        return len(self._waiting)

    async def submit(self, item):
        """Returns the result of one item.

        Raises:
            QueueFullError: Too many items are waiting.
            Exception: The exception that `run` raised for this item.
        """
        if len(self._waiting) >= self._max_queue:
            raise QueueFullError(f"{self._max_queue} clips are waiting")
        result = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if len(self._waiting) >= self._max_batch:
            self._full.set()
        if self._worker is None:
            # The task ends when no item waits, so it need not be stopped.
            self._worker = asyncio.create_task(self._work())
        return await result

    async def _work(self):
        while self._waiting:
            self._full.clear()
            if self._max_delay and len(self._waiting) < self._max_batch:
                try:
                    await asyncio.wait_for(self._full.wait(), self._max_delay)
                except asyncio.TimeoutError:  # Not TimeoutError in 3.10.
                    pass
            batch = self._take()
            if batch:
                self._observe(len(batch))
                await self._answer(batch)
        self._worker = None

    def _take(self):
        batch, largest = [], 0
        while self._waiting and len(batch) < self._max_batch:
            item, result = self._waiting[0]
            if result.done():  # Its request was cancelled.
                self._waiting.popleft()
                continue
            largest = max(largest, self._size(item))
            if batch and (len(batch) + 1) * largest > self._max_size:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch):
        loop = asyncio.get_running_loop()
        items = [item for item, _ in batch]
        try:
            answers = await loop.run_in_executor(
                self._executor, self._run, items
            )
        except Exception as error:
            if len(batch) > 1:
                for pair in batch:
                    await self._answer([pair])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, result), answer in zip(batch, answers, strict=True):
            if not result.done():
                result.set_result(answer)
