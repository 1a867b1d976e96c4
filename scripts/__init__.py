"""The command lines. Each file also runs as it is, from a checkout that is not installed."""
