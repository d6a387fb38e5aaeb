"""The search for better settings: ``charloom tune``."""
