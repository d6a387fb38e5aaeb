"""What answers a browser: on this machine alone."""
