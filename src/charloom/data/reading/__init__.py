"""Files to text: sources, decoding, decompression, table columns and normal forms."""
