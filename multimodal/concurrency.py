"""Work that is done at the same time: the first failure ends the rest, and is raised as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

T = TypeVar("T")
W = TypeVar("W")


async def both(first: Coroutine[object, object, T], second: Coroutine[object, object, W]) -> tuple[T, W]:
    """Two results of work that is done at the same time. The first failure ends the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            one, other = group.create_task(first), group.create_task(second)
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return one.result(), other.result()


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Results, in order, of work that is done at the same time.

    The first failure ends the rest, and is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that came first, however deep it is nested."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
