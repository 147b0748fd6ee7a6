"""Mutation testing: `make mutants`. Every change that no test notices is in accepted.toml, with the reason."""
