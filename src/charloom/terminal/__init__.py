"""What is written to a terminal: messages, progress bars and live views. The library and the command line share it."""
