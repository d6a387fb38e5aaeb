"""What a model is: its architecture, its equations, its weights and its file."""
