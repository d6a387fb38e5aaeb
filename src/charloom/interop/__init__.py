"""Exchange with other tools: Keras, ONNX, Hugging Face Hub."""
