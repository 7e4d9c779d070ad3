"""How many batches a pass may lose with their workers: any number, as long as the run does not fail everywhere.

Ray Data ends a pass at the first batch lost beyond a fixed number. A run over a million pages may well have more that
kill their workers, and each of them is owed its failure; one whose workers all die should end soon, and say why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from ray.data._internal.execution.execution_callback import ExecutionCallback

LEAST_LOST: Final = 100  # batches, before a run is taken to fail everywhere


def goes_on(lost: int, home: Callable[[], int], limit: float) -> bool:
    """Whether a run that has lost so many batches is not one that fails everywhere.

    home: how many it has brought home by now. limit: `pipeline.max_error_rate`.
    """
    return lost < limit * (lost + home())


class Patience(ExecutionCallback):  # type: ignore[misc]  # Ray's classes have no types
    """Renews the number of batches that may be lost, at each step of Ray Data's loop in the driver.

    judge: of the run in this process; told how many batches the pass has lost.
    """

    judge: ClassVar[Callable[[int], bool]] = staticmethod(lambda lost: False)

    def on_execution_step(self, executor: object) -> None:
        """Called with Ray Data's StreamingExecutor, which has no public name for either number."""
        if type(self).judge(executor._num_errored_blocks):  # type: ignore[attr-defined]
            executor._max_errored_blocks = LEAST_LOST  # type: ignore[attr-defined]
