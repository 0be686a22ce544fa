"""What a finding, an alert, a silence and a message on its way are; and what the daily digest counts."""
