"""Small helpers that any package may use; nothing here knows about text or models."""
