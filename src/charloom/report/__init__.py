"""Reports on a training and on what the model learned."""
