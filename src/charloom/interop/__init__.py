"""To and from other worlds: Keras, ONNX, web pages, the Hugging Face Hub, Dask."""
