"""What brings requests to instances: the built-in router, and Traefik told by files or by labels."""
