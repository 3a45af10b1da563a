"""One small adapter for each component: how its public class is called, and on what."""
