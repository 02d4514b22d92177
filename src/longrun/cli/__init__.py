"""The `longrun` command. Each command imports what it needs when it runs, so that `longrun jobs ls` starts fast."""
