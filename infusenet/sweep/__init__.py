"""Sweeps: one specification, many pictures, one table and one page. See `infusenet sweep --help`."""
