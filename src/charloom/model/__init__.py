"""The model: architecture, initial weights, reference equations, quantization and file format."""
