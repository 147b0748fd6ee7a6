"""A stand-in for SageMaker: refuses what SageMaker refuses, trains in a process with the /opt/ml contract, serves over HTTP."""
