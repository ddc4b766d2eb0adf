"""Generation in one call: all prompts at once, and the answers when they are done."""

from collections.abc import Callable, Sequence

from malmoi.decode.engine import SLOTS, Engine
from malmoi.decode.policy import Policy
from malmoi.decode.request import Completion, Request
from malmoi.decode.speculate import Speculator
from malmoi.model import GPT


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    policy: Policy,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    seed: int = 0,
    on_token: Callable[[int, int], bool | None] | None = None,
    slots: int = SLOTS,
    speculator: Speculator | None = None,
    compiled: bool | None = None,
) -> list[Completion]:
    """Continue each prompt by one policy: the `Engine` in one call.

    Args:
        model: in evaluation mode.
        prompts: ids of each prompt, one id at least (`<bos>` for an empty text).
        policy: how the next token is chosen.
        max_new_tokens: limit of new tokens for each row.
        stop_ids: ids that end a row.
        seed: the same seed gives the same continuation of a prompt, whatever is beside it.
        on_token: hears of each new token as (prompt's number, id); a true answer ends that row.
        slots: most rows at a time; more prompts wait.
        speculator: see `malmoi.decode.speculate`.
        compiled: see `Engine`.

    Raises:
        ValueError: an empty prompt, ids outside the vocabulary, a policy that does not fit, a
            cache that does not fit into memory.

    """

    def listener(number: int) -> Callable[[int], bool | None] | None:
        return None if on_token is None else lambda token: on_token(number, token)

    requests = [
        Request(
            prompt, policy, max_new_tokens, stop_ids=tuple(stop_ids), seed=seed,
            on_token=listener(number),
        )
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip
    return complete(model, requests, slots=slots, speculator=speculator, compiled=compiled)


def complete(
    model: GPT,
    requests: Sequence[Request],
    *,
    slots: int = SLOTS,
    speculator: Speculator | None = None,
    compiled: bool | None = None,
) -> list[Completion]:
    """Serve all of some requests with a cache just large enough.

    Raises:
        ValueError: as `Engine`, before anything is generated.

    """
    if not requests:
        return []
    slots = min(slots, len(requests))
    longest = max(len(request.prompt) + request.max_new_tokens for request in requests)
    with Engine(
        model,
        slots=slots,
        spare=min(slots // 3, len(requests) - slots),
        capacity=longest,
        speculator=speculator,
        compiled=compiled,
    ) as engine:
        # Those that may take longest first: a long one begun last would go on alone.
        order = sorted(range(len(requests)), key=lambda i: -requests[i].max_new_tokens)
        completions = {number: engine.add(requests[number])[1] for number in order}
        engine.run()
    return [completions[number] for number in range(len(requests))]
