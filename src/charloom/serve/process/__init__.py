"""Run the server: listening socket, connections, worker processes."""
