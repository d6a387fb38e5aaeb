"""What came out of a training, in words and pictures."""
