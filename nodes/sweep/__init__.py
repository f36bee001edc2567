"""One setting tried at several values in one node."""
