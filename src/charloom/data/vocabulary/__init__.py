"""Vocabularies: the characters or bytes that a model knows, and their ids."""
