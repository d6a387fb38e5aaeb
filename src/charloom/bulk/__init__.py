"""Bulk jobs: score or generate a large number of texts in restartable partitions."""
