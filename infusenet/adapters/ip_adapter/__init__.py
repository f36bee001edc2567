"""IP-Adapter on SDXL: a face's embedding and its look become four tokens, to which the UNet's image attends."""
