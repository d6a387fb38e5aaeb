"""The index of a text: its characters as integer codes, in memory or memory-mapped from disk."""
