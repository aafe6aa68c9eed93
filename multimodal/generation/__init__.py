"""From a described conversation to a stream of text: the prompt, and the engine behind Generator."""
