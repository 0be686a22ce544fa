"""Questions to the people on call, and what becomes of them."""
