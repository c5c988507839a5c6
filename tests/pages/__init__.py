"""The examples of the pages in docs/, run as they stand there."""
