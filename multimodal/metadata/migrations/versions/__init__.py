"""One module for each step. None is ever changed once it was released."""
