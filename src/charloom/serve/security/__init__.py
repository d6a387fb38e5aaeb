"""Protection of the server: allowed hosts, tokens, limits."""
