"""Bulk jobs, which score or generate many texts in restartable partitions."""
