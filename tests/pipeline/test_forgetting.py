"""What Ray Data keeps of every block does not add up in the driver."""

import pytest
import ray

from ocrbatch.pipeline import session
from ocrbatch.pipeline.forgetting import Forgetting

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

BLOCKS = 60


def kept(executor):
    return sum(len(getattr(operator, "_output_blocks_stats", ())) for operator in executor._topology)


def test_what_is_kept_of_blocks_is_forgotten_as_they_come(monkeypatch):
    forget, before, after = Forgetting.on_execution_step, [], []

    def watched(self, executor):
        before.append(kept(executor))
        forget(self, executor)
        after.append(kept(executor))

    monkeypatch.setattr(Forgetting, "on_execution_step", watched)
    with session._settings(None):
        dataset = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(lambda batch: batch, batch_size=None)
        assert sum(len(batch) for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow")) == BLOCKS
    assert BLOCKS // 2 < sum(before) <= BLOCKS, "what is kept of each shows, but for the last"
    assert set(after) == {0}
