"""The fastest way to make a picture that keeps a wanted quality on one's own people: `infusenet tune`."""
