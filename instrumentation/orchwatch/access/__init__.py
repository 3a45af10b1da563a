"""Secrets that programs of one user share: with the stack's servers, hooks and Alertmanager."""
