"""Names inside tenants' networks: the platform answers them itself."""
