"""One file per step kind, and what they share: the one task per key, and what the host hears."""
