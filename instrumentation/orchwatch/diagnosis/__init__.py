"""What works and what does not, what was lost, and how to fix it."""
