"""What slidge loads, in a virtual environment of its own."""
