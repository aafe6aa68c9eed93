"""Batches across requests, with `@serve.batch`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from ray import serve
from ray.serve.exceptions import RayServeException

T = TypeVar("T")
R = TypeVar("R")


def batched(
    work: Callable[[list[T]], Awaitable[list[R]]],
    *,
    size: int,
    wait_s: float,
    cost: Callable[[Sequence[T]], int] = len,
) -> Callable[[T], Awaitable[R]]:
    """A call for one item that does the work of many callers at once, results in order.

    Args:
        work: what is done to a batch.
        size: the largest cost of a batch; no single item may cost more.
        wait_s: how long the first item of a batch waits for company. One batch is worked on at a time and
            the next gathers meanwhile, which makes batches without waiting where there is much to do.
        cost: what a batch costs; by default, the number of its items.
    """
    if not in_replica():
        # Local testing mode: the queue of @serve.batch needs a real replica.
        async def alone(item: T) -> R:
            return (await work([item]))[0]

        return alone

    @serve.batch(max_batch_size=size, batch_wait_timeout_s=wait_s, batch_size_fn=cost)
    async def together(items: list[T]) -> list[R]:
        return await work(items)

    return cast(Callable[[T], Awaitable[R]], together)


def in_replica() -> bool:
    """Whether this process is a replica, and not a test in local testing mode."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True
