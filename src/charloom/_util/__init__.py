"""General helpers that are independent of texts and models."""
