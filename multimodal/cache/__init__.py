"""What was made of media, kept and shared: memory, Redis, and beside uploaded files."""
