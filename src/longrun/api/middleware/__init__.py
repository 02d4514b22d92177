"""What every request passes through before it comes to its route."""
