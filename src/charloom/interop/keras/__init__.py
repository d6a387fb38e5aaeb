"""Keras models to charloom models and back."""
