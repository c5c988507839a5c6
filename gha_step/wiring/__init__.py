"""The only place that constructs: `core` (ledger, GitHub, steps) and `server` (the ways in). Each can be closed."""
