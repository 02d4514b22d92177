"""What the client asks of a server, step by step, apart from how bytes travel: each step is decided without a socket or a clock."""
