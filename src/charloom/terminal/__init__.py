"""Output on a terminal: messages, progress bars, live views. Shared by the library and the command line."""
