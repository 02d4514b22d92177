"""The HTTP API: handlers parse, call `longrun.service`, answer."""
