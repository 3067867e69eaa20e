"""The binaries: each parses flags, builds a config and makes one library call."""
