"""Text to ids: corpora, reading, vocabularies and indexes."""
