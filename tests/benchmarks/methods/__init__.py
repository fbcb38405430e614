"""Ways to answer by a forced plan, each set up once, as its authors publish it.

A method is a coroutine function of a `Client` and a `ForcedPlan`. It really decodes its plan, outline or
skeleton, under a grammar of one text, and every part at its length. What it is told stands in its module.
"""
