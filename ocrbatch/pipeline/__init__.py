"""The job: from a config to a dataset, through Ray Data."""

import os

# Before Ray is imported: without this a thread that is still asking for results when Ray ends starts a new one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
