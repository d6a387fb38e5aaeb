"""Text to numbers: corpora, how they are read, and the vocabulary."""
