"""Data-parallel training in several processes, on one or more machines."""
