"""From texts to ids: reading, vocabularies, indexes and corpora."""
