"""Virtual time: rehearsals that cost milliseconds."""
