"""What a run tells people: the progress line while it runs, the summary when it ends."""
