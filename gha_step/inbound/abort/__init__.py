"""cancelOnAbort: cancels the run of a Promotion that ends without success."""
