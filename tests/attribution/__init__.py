"""Which run is ours, by listings alone: each rule of the specification's "Attribution", and what holds of all."""
