"""What the graph costs: the same requests through ours, through Serve's defaults, and through one process."""
