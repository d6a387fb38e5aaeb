"""The running server: its socket, its connections and its worker processes."""
