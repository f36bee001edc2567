"""FastFace in the host: text and identity guided separately."""
