"""Which waiting job goes to which runner, and when."""
