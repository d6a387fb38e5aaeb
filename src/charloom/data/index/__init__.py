"""A text as ids, in memory or memory-mapped from disk."""
