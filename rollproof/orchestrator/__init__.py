"""The shell around the core: one writer that decides, and the adapters that act."""
