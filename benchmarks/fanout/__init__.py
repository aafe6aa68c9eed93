"""One engine, many streams: what it takes to bring each its tokens, with an engine that only ticks."""
