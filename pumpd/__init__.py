"""The infusion-session daemon and the contract its drivers follow. Not a certified medical device."""
