"""InfuseNet in diffusers: the network, the pipeline that feeds it, and the encoder from photos to its tokens."""
