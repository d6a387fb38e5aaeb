"""Numbers to weights: the only wing that imports torch."""
