"""Batches: shuffled windows, contiguous streams, or lines."""
