"""The fastest settings for given documents on this machine, found by measuring the job itself."""
