"""What the command line shows: messages, progress bars and live views."""
