"""Other servers: real ones, and two of our own."""
