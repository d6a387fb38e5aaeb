"""Vocabularies: which characters or bytes a model knows, and their ids."""
