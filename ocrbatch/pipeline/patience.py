"""How many batches a pass may lose with their workers: any number, as long as others come home.

Ray Data ends a pass at the first batch lost beyond a fixed number. A run over a million pages may well have more that
kill their workers, and each of them is owed its failure; one whose workers all die should end soon, and say why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from ray.data._internal.execution.execution_callback import ExecutionCallback

LEAST_LOST: Final = 100  # batches, one after the other, before a run is taken to fail everywhere


class Patience(ExecutionCallback):  # type: ignore[misc]  # Ray's classes have no types
    """Renews the number of batches that may be lost, at each step of Ray Data's loop in the driver.

    judge: of the pass in this process; told how many batches it has lost. The class travels to workers by its name.
    """

    judge: ClassVar[Callable[[int], bool] | None] = None

    def on_execution_step(self, executor: object) -> None:
        """Called with Ray Data's StreamingExecutor, which has no public name for either number."""
        judge = type(self).judge
        if judge is not None and judge(executor._num_errored_blocks):  # type: ignore[attr-defined]
            executor._max_errored_blocks = LEAST_LOST  # type: ignore[attr-defined]


@contextmanager
def patience(home: Callable[[], int], limit: float, *, again: bool) -> Iterator[None]:
    """For the length of a `with`, which is a pass: it may lose LEAST_LOST batches while none comes home, or any number.

    home: how many the run has brought home by now. limit: `pipeline.max_error_rate`. again: what is read was lost
    before, so that nothing else may be left; it is enough that the run has brought anything home.
    """
    since = home()

    def judge(lost: int) -> bool:
        nonlocal since
        now = home()
        grown, since = now > (0 if again else since), now
        return renews(lost, now, limit, grown=grown)

    with judged(judge):
        yield


@contextmanager
def judged(judge: Callable[[int], bool]) -> Iterator[None]:
    """For the length of a `with`, `judge` is asked at each step of Ray Data's loop; what it raises ends the pass."""
    Patience.judge = judge
    try:
        yield
    finally:
        Patience.judge = None


def renews(lost: int, home: int, limit: float, *, grown: bool) -> bool:
    """Whether a pass that has lost so many batches may lose LEAST_LOST more, where the run has brought so many home."""
    return limit > 1 or (grown and lost < limit * (lost + home))
