"""A machine of a fleet: who it is, where it sends to, and the tokens that a gateway takes."""
