"""What may happen: deciders, one module per noun."""
