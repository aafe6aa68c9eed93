"""What HTTP and the graph cost on the way from the engine to a client: ours, vLLM's own server, bare vLLM."""
