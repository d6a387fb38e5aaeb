"""Reading, validating and writing model files, and the layout of run folders."""
