"""Facts about sessions of any coding agent become spans: each once, with ids that are derived."""
