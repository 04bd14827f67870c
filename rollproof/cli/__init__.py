"""The command line: main, and one file a command. Parses, calls, prints; decides nothing."""
