"""The model file and the run folder: reading, validating and writing them."""
