"""Recorded series, and the samples that test them."""
