"""Where rows go: staged Parquet parts, and the log that makes each page appear exactly once."""
