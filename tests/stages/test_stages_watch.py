"""A process that hangs is ended, one that is done is not."""

import subprocess
import sys

import pytest

from ocrbatch.errors import UsageError
from ocrbatch.stages.watch import bounded

SCRIPT = """
import time
from ocrbatch.stages.watch import watched
with watched(0.3):
    pass
time.sleep(0.6)
print("done in time", flush=True)
with watched(0.3):
    time.sleep(60)
print("never")
"""


def test_a_body_that_takes_too_long_ends_the_process():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert found.stdout == "done in time\n"
    assert "time.sleep(60)" in found.stderr or "line 9" in found.stderr, "it says where"


def test_a_bound_that_leaves_no_room_for_a_page_is_bad_usage():
    with pytest.raises(UsageError, match="worker_memory_mb=1 is less than") as caught:
        bounded(1)
    assert "or more" in caught.value.remedy
