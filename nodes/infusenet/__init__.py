"""InfuseNet in the host: its ControlNet, its settings, and the identity that it carries."""
