"""Adapters: how an identity, a style or an object gets into a run."""
