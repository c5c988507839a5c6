"""Steps with `repoURL`: the URL, Kargo's lookup of credentials for it, and what they hold."""
