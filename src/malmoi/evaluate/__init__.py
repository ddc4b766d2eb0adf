"""How good a model is: its loss in every unit, beside floors that need no model."""
