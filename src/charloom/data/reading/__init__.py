"""Reading files as text: sources, decompression, decoding, table columns and normalization."""
