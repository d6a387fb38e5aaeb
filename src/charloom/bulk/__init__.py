"""Bulk jobs: score or generate many texts in restartable partitions."""
