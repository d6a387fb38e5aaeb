"""Weights to text: engines, sampling, generation and scoring, without PyTorch."""
