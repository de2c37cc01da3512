"""The face of the engine: what users subclass, and what their classes mean."""
