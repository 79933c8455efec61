"""A notice board: what a team's own application looks like."""
