"""The emulated AWS: ministack, what it lacks (`extensions` lists it all), and a stand-in for SageMaker.

Runs in `.rehearsal/emulator` (requirements-rehearsal.txt and the layer's requirements.txt), started by
`rehearsal.running`.
"""
