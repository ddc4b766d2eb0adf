"""What a constraint on generated text is to the decoder: a set of ids that may come next.

Only ids are known here. What gives the sets (a regular expression, a JSON schema) knows strings
and lives elsewhere: `malmoi.tokenizer.grammar.Grammar` is one.
"""

from typing import Protocol, Self

from torch import Tensor


class Constraint(Protocol):
    """State of one row of generated ids.

    The prompt is not part of it: it starts with the first id that is generated.
    """

    def allowed(self) -> Tensor:
        """A new `[V]` bool tensor on the CPU: true where the id may come next.

        The end id is true where the text may end, and nothing else is true after the end. At least
        one id is. Raises ValueError where no token can go on, in one line for the user.
        """
        ...

    def accept(self, id: int) -> None:
        """Go on by one id. Raises ValueError for one that `allowed` does not have."""
        ...

    def copy(self) -> Self:
        """An independent constraint in the same state, for another row (a beam, a sample)."""
        ...
