"""Small helpers that know nothing about texts or models."""
