"""What is done about it: effects, one module per noun, and the runner that carries them to an outcome."""
