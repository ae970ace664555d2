"""The HTTP side of the server: imported only where it listens for HTTP."""
