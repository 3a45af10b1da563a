"""What follows from the table of targets for other programs' files."""
