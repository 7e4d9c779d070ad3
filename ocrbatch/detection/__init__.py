"""Text detection: pages in, regions in reading order out."""
