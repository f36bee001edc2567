"""Replay: does what the pack advises, and what its nodes do by themselves, serve the picture? On the miniature."""
