"""What is known of FLUX's networks: their sizes, their weights' names, and where their blocks lie."""
