"""The demo: the main job on the miniature, from start to end, and its page."""
