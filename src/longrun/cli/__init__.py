"""The `longrun` command. Nothing heavy is imported before a command needs it: `longrun jobs ls` must feel instant."""
