"""The part of optimization that is the same for every backend."""
