"""FLUX as the host has it: from files, in small, by its names and sizes."""
