"""cancelOnAbort: the run of a Promotion that ends without success is cancelled."""
