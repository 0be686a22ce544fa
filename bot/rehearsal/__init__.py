"""The demo and the drill: a real small training whose bad night is played, watched and timed."""
