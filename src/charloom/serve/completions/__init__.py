"""The OpenAI-compatible completions endpoint."""
