"""The server as processes: socket, connections, workers."""
