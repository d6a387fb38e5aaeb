"""The server: OpenAI-compatible API and playground."""
