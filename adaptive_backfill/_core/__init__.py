"""The pure floor: values, and the laws that move them.

Nothing here awaits, sleeps, logs, reads a clock or draws a random number. Time
and chance come in as arguments, so every rule can be tested as a function.
"""
