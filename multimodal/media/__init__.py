"""From a client's bytes to decoded media: recognise, limit, decode in processes that can be killed."""
