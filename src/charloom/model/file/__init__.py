"""The model file and the run folder: reading, checking and writing them."""
