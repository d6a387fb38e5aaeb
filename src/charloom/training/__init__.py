"""Training: from the ids of a text to weights. Only ``backends.torch`` and ``distributed`` import PyTorch."""
