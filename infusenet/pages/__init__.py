"""Pages: one HTML base with the palette's colours, and a template for each page that extends it.

A page is one file that asks nothing of any network, readable in light, in dark, on a phone and on paper. Needs jinja2.
"""

from .numbers import readable
from .render import data_uri, render, with_sign

__all__ = ["data_uri", "readable", "render", "with_sign"]
