"""What computes a training step: forward, backward and the update."""
