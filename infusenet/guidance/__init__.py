"""FastFace: guidance that takes text and identity apart, and attention to identity tokens that is reshaped.

The pure functions are in `decoupled` and `attention`; what hooks them into a network stands beside them.
"""
