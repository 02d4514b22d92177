"""The truth about jobs: one Redis or Valkey, every change of state one script."""
