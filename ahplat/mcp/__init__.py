"""The door for agents that speak the Model Context Protocol: the routes as tools, over HTTP and over stdio."""
