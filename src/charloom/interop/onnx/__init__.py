"""charloom models as ONNX graphs."""
