"""Choices: settings, recipes and the arithmetic that fits them to a corpus and a time. No torch here."""
