"""Engines, the implementations that run a trained model."""
