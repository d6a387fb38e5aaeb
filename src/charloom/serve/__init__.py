"""What answers browsers and other programs."""
