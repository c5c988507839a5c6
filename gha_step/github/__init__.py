"""Everything about GitHub: endpoints, the dispatch's POST, all other requests, and what responses prove."""
