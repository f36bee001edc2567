"""A probe at work: a sampler watched, its predictions decoded, the curve told to the browser."""
