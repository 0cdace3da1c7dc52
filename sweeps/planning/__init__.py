"""Which trial comes next, given what has ended, and how long it all takes."""
