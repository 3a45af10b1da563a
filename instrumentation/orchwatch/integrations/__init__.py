"""Ways to watch programs that nobody edited."""
