"""Replay: is what the pack advises, and what its nodes do by themselves, good for the picture? Measured on the miniature."""
