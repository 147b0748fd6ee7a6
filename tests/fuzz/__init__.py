"""Random and broken data for the data preparation: `make fuzz SECONDS=600`; a short seeded run is a unit test."""
