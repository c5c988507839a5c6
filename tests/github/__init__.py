"""What is known of GitHub: where it is, what goes over the wire, what an answer proves."""
