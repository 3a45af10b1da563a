"""Ways to watch programs without editing them."""
