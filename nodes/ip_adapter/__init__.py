"""IP-Adapter in the host: a person's tokens, to which a UNet's cross-attentions attend besides the text."""
