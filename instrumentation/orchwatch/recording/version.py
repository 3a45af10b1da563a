"""The version, readable without package metadata: looking that up would cost a hook 20 ms."""

__version__ = "0.1.0"
