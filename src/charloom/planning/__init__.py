"""Settings, recipes, and the arithmetic that adapts them to a corpus and a time budget. Nothing is measured here."""
