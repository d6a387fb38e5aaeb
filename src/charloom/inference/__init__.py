"""Inference with a trained model: engines, sampling, generation and scoring, without PyTorch."""
