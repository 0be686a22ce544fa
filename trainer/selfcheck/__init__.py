"""``trainmaster selfcheck``: proves the guard on the machine at hand, before a run of ten days."""
