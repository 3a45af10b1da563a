"""Secrets that one user's programs share: for the stack's servers, hooks and Alertmanager."""
