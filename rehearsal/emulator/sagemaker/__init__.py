"""A stand-in for SageMaker: refuses what it refuses, trains in a process with the /opt/ml contract, serves by HTTP."""
