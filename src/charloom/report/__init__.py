"""Reports on a training run and on what the model learned."""
