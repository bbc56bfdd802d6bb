"""`ahc`: what agents and people operate the platform with, from anywhere. It knows the HTTP API and nothing of the server."""
