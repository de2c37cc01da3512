"""What `reactions.py` is made of."""
