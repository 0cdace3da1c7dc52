"""The command line, command by command, and what it prints."""
