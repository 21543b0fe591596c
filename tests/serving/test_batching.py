import asyncio
import concurrent.futures
import threading

import pytest

from ser_keras.serving.batching import Batcher
from ser_keras.serving.batching import QueueFullError


def run(coroutine_of, function, **options):
    """Runs a coroutine that is given a `Batcher` of `function`."""

    async def main():
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            return await coroutine_of(Batcher(function, executor, **options))

    return asyncio.run(main())


def test_every_item_gets_its_own_answer_in_batches_of_at_most_that_many():
    sizes = []

    async def ask(batcher):
        return await asyncio.gather(*map(batcher.submit, range(1000)))

    answers = run(
        ask,
        lambda items: [2 * item for item in items],
        max_batch=7,
        size=lambda item: 1,
        observe=sizes.append,
    )
    assert answers == [2 * item for item in range(1000)]
    assert max(sizes) == 7
    assert sum(sizes) == 1000


def test_a_batch_gathers_while_another_is_computed():
    busy, proceed, batches = threading.Event(), threading.Event(), []

    def compute(items):
        batches.append(list(items))
        busy.set()
        proceed.wait()
        return items

    async def ask(batcher):
        first = asyncio.create_task(batcher.submit("a"))
        await asyncio.to_thread(busy.wait)
        others = [asyncio.create_task(batcher.submit(x)) for x in "bcd"]
        await asyncio.sleep(0)
        assert len(batcher) == 3
        proceed.set()
        await asyncio.gather(first, *others)

    run(ask, compute, max_delay=0)
    assert batches == [["a"], ["b", "c", "d"]]


def test_an_item_fails_only_by_its_own_fault():
    def compute(items):
        if "bad" in items:
            raise ValueError("bad")
        return items

    async def ask(batcher):
        items = ["a", "bad", "b"]
        return await asyncio.gather(
            *map(batcher.submit, items), return_exceptions=True
        )

    first, error, last = run(ask, compute)
    assert (first, last) == ("a", "b")
    assert isinstance(error, ValueError)


def test_memory_of_a_padded_batch_is_bounded():
    batches = []

    def compute(items):
        batches.append([len(item) for item in items])
        return items

    async def ask(batcher):
        sizes = (10, 10, 10, 50, 10, 200, 10)
        await asyncio.gather(*(batcher.submit("x" * n) for n in sizes))

    run(ask, compute, max_size=100)
    assert batches == [[10, 10, 10], [50, 10], [200], [10]]


def test_queue_is_bounded_and_who_gave_up_is_not_computed():
    seen = []

    async def ask(batcher):
        waiting = [asyncio.create_task(batcher.submit(i)) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="3 clips"):
            await batcher.submit(3)
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(
        ask,
        lambda items: seen.extend(items) or items,
        max_queue=3,
        size=lambda item: 1,
    )
    assert seen == [0, 2]
