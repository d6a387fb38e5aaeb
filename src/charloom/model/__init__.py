"""What a model is: architecture, reference equations, quantization and file."""
