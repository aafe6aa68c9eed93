"""Settings of vLLM on the CPU, each against those of the embedded profile."""
