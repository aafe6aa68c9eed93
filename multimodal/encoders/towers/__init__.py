"""Vision towers of vision-language checkpoints, alone: media to the embeddings that vLLM takes instead."""
