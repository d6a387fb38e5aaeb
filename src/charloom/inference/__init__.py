"""Weights to text: engines, sampling, generation and scoring. Nothing here needs torch."""
