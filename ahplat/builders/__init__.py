"""How a repository becomes an image: the port that builders share, and what stands behind it."""
