"""What must not be harmonized, and what must not be sent: each guard says why, in words with figures."""
