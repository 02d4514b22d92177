"""How requests travel: addresses, connections, bodies, retries."""
