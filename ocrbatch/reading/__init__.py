"""Pages to lines in one process, without Ray."""
