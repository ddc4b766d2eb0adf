"""malmoi: raw text in, a small language model of your own out."""
