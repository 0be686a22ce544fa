"""Ten bad days of a small training: a seeded scenario, the worlds that it is played in, and what it cost them."""
