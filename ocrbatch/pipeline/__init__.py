"""The job: from a config to a dataset, through Ray Data."""

import os

# Before Ray is imported: without this a thread that is still asking for results when Ray ends starts a new one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
# Before Ray Data is imported: its bound on what waits before a stage (`session.WAITING`) would hold only once half of
# the object store is taken.
os.environ.setdefault("RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD", "0")
