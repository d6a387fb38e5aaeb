"""Everything that a browser loads: assets, content security policy, single-file export."""
