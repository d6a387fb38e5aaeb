"""Reports on a training and on what a model learned."""
