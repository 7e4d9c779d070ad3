"""The job: from a config to a dataset, through Ray Data."""
