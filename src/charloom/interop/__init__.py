"""To and from other worlds: Keras, ONNX."""
