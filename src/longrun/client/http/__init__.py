"""How requests travel: where to, over which connections, with which bodies, and when they are tried again."""
