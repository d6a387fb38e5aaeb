"""Everything that a browser loads: pages, scripts, and the single-file export."""
