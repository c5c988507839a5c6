"""The interfaces over one `execute`: they authenticate, decode, wait no longer than allowed, and encode."""
