"""``trainmaster watch``: views of runs -> what a terminal shows. Reads and draws; it changes nothing."""
