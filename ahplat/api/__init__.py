"""HTTP in, commands out; views in, HTTP out."""
