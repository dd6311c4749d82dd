"""An event loop whose time passes only when nothing is left to do: an hour of waiting takes
milliseconds, and always the same ones."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("Nothing is left that could ever wake anybody up: a hang.")
            self.loop.now += max(timeout, 0.0)
            self.loop.steps += 1
            assert self.loop.steps < self.loop.most_steps, "a hot loop"
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock that jumps to the next timer.

    :param now: what the clock shows at first, seconds.
    """

    def __init__(self, now: float = 1000.0) -> None:
        selector = _Jump()
        selector.loop = self
        self.now = now
        self.steps = 0
        self.most_steps = 5_000_000
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function, in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
