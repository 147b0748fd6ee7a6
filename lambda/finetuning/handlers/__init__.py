"""The functions, one module each.

What a function imports stays until its process ends. Python's garbage collector would look through it again and again
while it is loaded, which is a tenth of a start: it is asked to wait for more new objects than an import makes.
"""

import gc

gc.set_threshold(100_000)
