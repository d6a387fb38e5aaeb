"""What protects the server: host checks, request limits, body limits."""
