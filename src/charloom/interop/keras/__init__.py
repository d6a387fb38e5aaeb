"""Import Keras models, and export charloom models to Keras."""
