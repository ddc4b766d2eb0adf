"""malmoi: raw text in, a small language model of your own out."""

__version__ = "0.1.0"
