"""Networks that turn evidence into probabilities of ALT, and their loss."""
