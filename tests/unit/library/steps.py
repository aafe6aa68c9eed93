"""A library that dies between two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from sqlalchemy.orm import Session

from multimodal.library.shelf import StoredLibrary

P = ParamSpec("P")
T = TypeVar("T")


class Crash(Exception):
    """The process died. What it had under way does not go on."""


class Steps:
    """While this is entered, a library dies at the step of this number, from 0, and at all that follow.

    A step is before and after each call of the content store, and before, at the end of, and after each
    transaction that writes.
    """

    _METHODS = ("begin", "put", "discard", "delete", "write_derived", "sweep_uploads")

    def __init__(self, library: StoredLibrary, at: int) -> None:
        self._library = library
        self._left = at

    def __enter__(self) -> Self:
        contents, database = self._library.contents, self._library._database
        for name in self._METHODS:
            setattr(contents, name, partial(self._around, getattr(contents, name)))
        self._write = database.write
        database.write = self._writing  # type: ignore[method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._METHODS:
            delattr(self._library.contents, name)
        del self._library._database.write

    def _step(self) -> None:
        if self._left <= 0:
            raise Crash
        self._left -= 1

    def _around(self, method: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        self._step()
        result = method(*arguments, **named)
        self._step()
        return result

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        self._step()
        with self._write() as session:
            yield session
            self._step()
        self._step()
