"""All that is known of GitHub: endpoints, the one POST, every other request, and what answers prove."""
