"""Settings, recipes, and the arithmetic that fits them to a corpus and a time. Nothing is measured here."""
