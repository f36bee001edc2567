"""How good the miniature is: measured on people, scenes and prompts that it never saw. Not part of the wheel."""
